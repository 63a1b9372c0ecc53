"""Ask a vision-language model for the missing cells of a table; write its answers as a source.

The table is read twice: first to count calls and estimate their cost, then to ask. Products are
asked concurrently and written in the order of the table. An answer is cached when it arrives.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Tuple
from weakref import WeakValueDictionary

import numpy as np
import pydantic
import xxhash
from tqdm import tqdm

from attr_extractor import labels, ownership, storage, yaml_files
from attr_extractor.catalogue import photos, raw_files, table
from attr_extractor.catalogue.csv_rows import CsvWriter
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.schema import Schema
from attr_extractor.sources import answer_cache, endpoint, questions, writer
from attr_extractor.sources.answer_cache import AnswerCache
from attr_extractor.sources.questions import InvalidAnswerError, Question, Questions, Unused
from attr_extractor.sources.writer import SourceRow

REJECTS = ("row", "product_id", "image", "attribute", "answer", "reason", "nearest")
INVALID = "invalid JSON"
NO_REPLY = "the endpoint did not answer"
NOT_ASKED = "not asked: --max_cost is reached"
TRIES = 2  # of a question whose answer is no JSON object
MOST_FAILURES = 20  # calls in a row without an answer, after which the program ends
AHEAD = 4  # products that are read and asked at a time, for each concurrent call


class AskOptions(yaml_files.Model):
    """What is asked, and what it may cost."""

    attributes_per_call: int = pydantic.Field(default=8, ge=1)
    image_size: int = pydantic.Field(default=512, ge=32)  # short side, pixels
    image_tokens: int = pydantic.Field(default=800, ge=0)  # of a photo, for the estimate
    all_cells: bool = False  # whether filled cells are asked as well
    sample: int = pydantic.Field(default=0, ge=0)  # products; 0: all
    concurrency: int = pydantic.Field(default=8, ge=1)  # calls at a time
    price_in: Optional[float] = pydantic.Field(default=None, ge=0)  # of a million tokens
    price_out: Optional[float] = pydantic.Field(default=None, ge=0)
    max_cost: Optional[float] = pydantic.Field(default=None, ge=0)

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the price of tokens; 0 without prices."""
        return (tokens_in * (self.price_in or 0) + tokens_out * (self.price_out or 0)) / 1e6

    def tokens(self, question: Question) -> tuple[int, int]:
        """Return the estimated tokens of a call, in and out."""
        return question.tokens_in + self.image_tokens, question.tokens_out


class Product(NamedTuple):
    """A row of the table to ask about."""

    row: int  # from 1
    product_id: str
    image: str  # the cell
    questions: Tuple[Question, ...]


@dataclass
class Estimate:
    """The expected size of a run, before it starts."""

    products: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0  # answers of the model in the cache, of this table or others
    rows: Optional[List[int]] = None  # of the sample; None: all

    def cost(self, options: AskOptions) -> float:
        """Return the expected cost of the calls that the cache cannot answer."""
        share = max(self.calls - self.cached, 0) / max(self.calls, 1)
        return options.cost(self.tokens_in * share, self.tokens_out * share)

    def summary(self, options: AskOptions) -> str:
        """Return the estimate in one line."""
        cost = f", about {self.cost(options):,.4g}" if options.price_in is not None else ""
        cached = f" ({self.cached:,} answers of the model are in the cache)" if self.cached else ""
        return (
            f"estimate: {self.products:,} products, {self.calls:,} calls{cached}, "
            f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out{cost}"
        )


@dataclass
class AskSummary:
    """Counts of a run."""

    products: int = 0
    calls: int = 0  # that were answered, valid or not
    from_cache: int = 0
    tokens_in: int = 0  # of `calls`
    tokens_out: int = 0
    cost: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)  # rows that were not asked, by reason
    answers: Counter[str] = field(default_factory=Counter)  # cells: answered, or why not
    stopped: bool = False  # at --max_cost

    def summary(self, rejects: str) -> str:
        """Return the counts in a few lines; `rejects` is the list's file."""
        answers = ", ".join(f"{n:,} {what}" for what, n in self.answers.most_common())
        lines = [
            f"{self.products:,} products, {self.calls:,} calls, {self.from_cache:,} answers from "
            f"the cache, {self.tokens_in:,} tokens in, {self.tokens_out:,} out, "
            f"cost {self.cost:,.4f}",
            f"cells: {answers or 'none'}",
        ]
        if self.rejected:
            reasons = ", ".join(f"{n:,} {why}" for why, n in self.rejected.most_common())
            lines.append(f"rows not asked: {reasons}")
        return "\n".join([*lines, f"not used: {rejects}"])


def ask_model(
    catalogue: str | Path,
    schema: Schema,
    output: str | Path,
    model: endpoint.EndpointOptions,
    options: AskOptions,
    image_root: str | Path | None = None,
    cache: str | Path | None = None,
) -> AskSummary:
    """Write what a model answers about the photos of a table; the same call resumes a run.

    The estimate is printed first. If `max_cost` is reached during the run, the answers until then
    are written and `AskSummary.stopped` is set.

    Args:
      catalogue: the seller's table; attributes need no column.
      output: the label source, a new .csv or .parquet file, see `writer.COLUMNS`. Answers that are
        not used and unreadable photos are listed in a new file, see `rejects_file`.
      image_root: folder of the image paths; by default the table's folder.
      cache: a folder on a disk for the model's replies; by default `<output>.cache`.

    Raises:
      InputError: if the table or an output cannot be used, if the estimated cost is above
        `max_cost`, or if the endpoint refuses the key or the model.
      TemporaryError: if the endpoint stops answering; what it answered is in the cache.
    """
    endpoint.require_package()
    writer.require_format(output, "--output")
    if options.max_cost is not None and None in (options.price_in, options.price_out):
        raise InputError("--max_cost needs --price_in and --price_out, per million tokens")
    root = raw_files.image_root_of(catalogue, image_root)
    listed = rejects_file(output)
    with ownership.new_file(output, "--output"):
        storage.require_new_file(listed, "--output")
        with answer_cache.opened(cache or f"{output}.cache", model.model) as kept:
            plan = _Plan(catalogue, schema, options)
            estimate = plan.estimate(len(kept))
            print(estimate.summary(options), flush=True)
            expected = estimate.cost(options)
            if options.max_cost is not None and expected > options.max_cost:
                raise InputError(
                    f"--max_cost={options.max_cost:g}: the run would cost about {expected:,.4g}; "
                    "ask fewer products with --sample, or raise it"
                )
            return asyncio.run(_run(plan, estimate, root, output, model, kept))


def rejects_file(output: str | Path) -> str:
    """Return the file that lists photos and answers that are not used: `vlm.rejects.csv`."""
    return f"{str(output).rpartition('.')[0]}.rejects.csv"


class _Plan:
    """The questions about each row of a table."""

    def __init__(self, catalogue: str | Path, schema: Schema, options: AskOptions):
        self.catalogue, self.schema, self.options = catalogue, schema, options
        self.questions = Questions(schema)
        self._encoder = labels.Encoder(schema)

    def estimate(self, cached: int) -> Estimate:
        """Count calls and tokens; choose the sample: the products with the smallest hashes."""
        result = Estimate(cached=cached)
        chosen: list[tuple[int, ...]] = []
        for product in self.products():
            tokens = [self.options.tokens(question) for question in product.questions]
            size = (len(tokens), *(sum(counts) for counts in zip(*tokens)))
            if self.options.sample:
                rank = -xxhash.xxh64_intdigest(product.product_id.encode())
                heapq.heappush(chosen, (rank, -product.row, *size))
                if len(chosen) > self.options.sample:
                    heapq.heappop(chosen)
                continue
            _add(result, size)
        if self.options.sample:
            result.rows = sorted(-row for _, row, *_ in chosen)
            for _, _, *counts in chosen:
                _add(result, counts)
        return result

    def products(self, rows: list[int] | None = None) -> Iterator[Product]:
        """Yield the rows with something to ask, in order; `rows`: only these."""
        schema, options = self.schema, self.options
        allowed = np.concatenate([schema.allowed, np.ones([1, schema.num_values], bool)])
        starts = np.cumsum([0, *schema.sizes[:-1]])
        applies = np.logical_or.reduceat(allowed, starts, axis=1)  # [C + 1, T]
        categories = [*schema[schema.category].values, ""]  # -1 selects the last
        wanted = None if rows is None else set(rows)
        for chunk in table.chunks(self.catalogue, schema, require_all=False):
            cells = {name: chunk[name].tolist() for name in schema.names if name in chunk}
            encoded = self._encoder.encode(cells, len(chunk))
            asked = applies[encoded.category]
            if not options.all_cells:
                asked = asked & labels.states(encoded.labels, schema.sizes)[:, :, 2]
            columns = (chunk[table.PRODUCT_ID], chunk[table.IMAGE])
            ids = zip(chunk.index.tolist(), *(column.str.strip().tolist() for column in columns))
            for (row, product_id, image), of_row, c in zip(ids, asked, encoded.category.tolist()):
                if wanted is not None and row not in wanted:
                    continue
                names = [schema.names[t] for t in np.flatnonzero(of_row)]
                if of_photo := self._questions(names, categories[c]):
                    yield Product(row, product_id, image, of_photo)

    def _questions(self, names: list[str], category: str) -> tuple[Question, ...]:
        """Return the questions about attributes of a product of a category ("": unknown)."""
        asked = []
        if category and self.schema.category in names:
            # the other questions tell the category
            asked.append(self.questions.of((self.schema.category,), ""))
            names = [name for name in names if name != self.schema.category]
        for group in questions.groups(names, self.options.attributes_per_call):
            asked.append(self.questions.of(group, category))
        return tuple(asked)


def _add(estimate: Estimate, size: Any) -> None:
    calls, tokens_in, tokens_out = size
    estimate.products += 1
    estimate.calls += calls
    estimate.tokens_in += tokens_in
    estimate.tokens_out += tokens_out


class _Asker:
    """Asks about products; counts replies, their cost and failures."""

    def __init__(
        self,
        plan: _Plan,
        root: str,
        options: endpoint.EndpointOptions,
        cache: AnswerCache,
        connection: endpoint.Endpoint,
        expected_cost: float,
    ):
        self.plan, self.root, self.cache, self.connection = plan, root, cache, connection
        self.summary = AskSummary()
        self._settings = f"{plan.options.image_size} {options.logprobs} {options.temperature}"
        self._model = options.model
        self._calls = asyncio.Semaphore(plan.options.concurrency)
        self._expected = expected_cost  # of one call
        self._open = 0  # calls on their way
        self._asking: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._failures = 0  # in a row

    async def ask(self, product: Product) -> tuple[list[SourceRow], list[Unused]]:
        """Return the rows of a product, and what is not used."""
        paths = table.image_paths(product.image)
        try:
            if not product.product_id or not paths:
                what = "image named" if product.product_id else "product_id"
                raise raw_files.PhotoError(f"no {what}")
            raw = await asyncio.to_thread(raw_files.read_raw, self.root, paths[0])
            photo = await asyncio.to_thread(photos.store, raw, self.plan.options.image_size)
        except raw_files.PhotoError as error:
            self.summary.rejected[str(error)] += 1
            return [], [Unused("", "", str(error))]
        self.summary.products += 1
        digest = xxhash.xxh3_128_hexdigest(raw)
        rows, unused = [], []
        for question in product.questions:
            answer, problem = await self._answer(question, photo.encoded, digest)
            if answer is None:
                self.summary.answers[problem.reason] += len(question.attributes)
                unused += [problem._replace(attribute=name) for name in question.attributes]
                continue
            for attribute, value, score in answer.values:
                source = (attribute, value, score, self._model)
                rows.append(SourceRow(product.product_id, *source))
            answered = {attribute for attribute, _, _ in answer.values}
            self.summary.answers.update("answered" for _ in answered)
            self.summary.answers.update(answer.without_value)
            self.summary.answers.update(each.reason for each in answer.unused)
            unused += answer.unused
        return rows, unused

    async def _answer(
        self, question: Question, photo: bytes, digest: str
    ) -> tuple[questions.Answer | None, Unused]:
        """Return the answer to a question; without one, why."""
        prompt = xxhash.xxh3_128_hexdigest(f"{question.digest} {self._settings}".encode())
        # the next product with this photo finds the reply in the cache
        async with self._asking.setdefault((digest, prompt), asyncio.Lock()):
            return await self._cached_or_asked(question, photo, digest, prompt)

    async def _cached_or_asked(
        self, question: Question, photo: bytes, digest: str, prompt: str
    ) -> tuple[questions.Answer | None, Unused]:
        read = self.plan.questions.read
        reply = self.cache.find(digest, prompt)
        if reply is not None:
            self.summary.from_cache += 1
            return read(question, reply.content, reply.tokens), Unused("", "", "")
        said = ""
        for _ in range(TRIES):
            async with self._calls:
                if not self._may_ask():
                    self.summary.stopped = True
                    return None, Unused("", "", NOT_ASKED)
                self._open += 1
                try:
                    reply = await self.connection.ask(question, photo)
                except endpoint.CallError as error:
                    self._count_failure(error)
                    return None, Unused("", str(error)[: questions.LONGEST_LISTED], NO_REPLY)
                finally:
                    self._open -= 1
            self._count(question, reply)
            try:
                answer = read(question, reply.content, reply.tokens)
            except InvalidAnswerError as error:
                said = str(error)[: questions.LONGEST_LISTED]
                continue
            self.cache.add(digest, prompt, reply)
            return answer, Unused("", "", "")
        return None, Unused("", said, INVALID)

    def _may_ask(self) -> bool:
        """Return whether one more call stays within max_cost, like those on their way."""
        most = self.plan.options.max_cost
        if most is None:
            return True
        counted = self.summary.calls
        each = self.summary.cost / counted if counted else self._expected
        return self.summary.cost + (self._open + 1) * each <= most

    def _count(self, question: Question, reply: endpoint.Reply) -> None:
        """Count a reply; its tokens as estimated, if the endpoint does not count them."""
        summary, options, self._failures = self.summary, self.plan.options, 0
        tokens_in, tokens_out = reply.tokens_in, reply.tokens_out
        if tokens_in is None or tokens_out is None:
            tokens_in, tokens_out = options.tokens(question)
        summary.calls += 1
        summary.tokens_in += tokens_in
        summary.tokens_out += tokens_out
        summary.cost += options.cost(tokens_in, tokens_out)

    def _count_failure(self, error: endpoint.CallError) -> None:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise TemporaryError(
                f"the endpoint did not answer {MOST_FAILURES} calls in a row ({error}); "
                "what it answered before is in the cache: rerun the command to resume"
            ) from error


async def _run(
    plan: _Plan,
    estimate: Estimate,
    root: str,
    output: str | Path,
    options: endpoint.EndpointOptions,
    cache: AnswerCache,
) -> AskSummary:
    """Ask about all products and write the outputs."""
    each = plan.options.cost(estimate.tokens_in, estimate.tokens_out) / max(estimate.calls, 1)
    window: deque[tuple[Product, asyncio.Task]] = deque()
    async with endpoint.connected(options) as connection:
        asker = _Asker(plan, root, options, cache, connection, each)
        products = plan.products(estimate.rows)
        with ExitStack() as stack:
            append = stack.enter_context(writer.writing(output))
            temporary = stack.enter_context(storage.whole(rejects_file(output)))
            # JSON may escape half of a surrogate pair, which is no text
            file = stack.enter_context(
                open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace")
            )
            rejects = CsvWriter(file)
            rejects.writerow(REJECTS)
            progress = stack.enter_context(tqdm(total=estimate.products, unit="product"))
            try:
                while True:
                    room = AHEAD * plan.options.concurrency - len(window)
                    if not asker.summary.stopped:
                        for product in itertools.islice(products, room):
                            window.append((product, asyncio.create_task(asker.ask(product))))
                    if not window:
                        break
                    product, task = window.popleft()
                    rows, unused = await task
                    append(rows)
                    rejects.writerows((*product[:3], *each_one) for each_one in unused)
                    progress.update()
            finally:
                for _, task in window:
                    task.cancel()
                await asyncio.gather(*(task for _, task in window), return_exceptions=True)
    return asker.summary
