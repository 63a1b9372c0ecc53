"""Pooled scores of the photos of a table's rows, from a model in memory or from a server.

Threads read photos ahead of the model and re-encode them as records store them: Pillow releases
the GIL while it decodes.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf
from absl import logging

from attr_extractor.catalogue import boxes, photos, table
from attr_extractor.errors import InputError, TemporaryError, extra
from attr_extractor.schema import Schema
from attr_extractor.serving.context import known_cells
from attr_extractor.serving.model_dir import Description, ExportedModel, parse_description

if TYPE_CHECKING:
    from attr_extractor.serving.client import Client  # needs the extra `serving`

BATCH = 32  # photos per call of the model, rows read per task
LONGEST_ERROR = 10_000  # characters of a row's error; a row may list any number of photos
READ_AHEAD = max(3, os.cpu_count() or 1)  # batches of rows
SCORED_AT_ONCE = 2  # batches: while one is in the network, the photos of the next are decoded

T = TypeVar("T")
R = TypeVar("R")


class StoredPhoto(NamedTuple):
    """A photo of a table row as records store it."""

    row: int
    encoded: bytes  # JPEG; empty if the photo is unreadable
    error: str  # why the photo is unreadable; "" if it was read


class Scores(NamedTuple):
    """Scores of N photos or rows."""

    scores: np.ndarray  # float32 [N, V]
    errors: list[str]  # N; why a photo is unreadable, "" if it was read


Scorer = Callable[[Sequence[bytes]], Scores]  # of stored photos
Answers = Dict[str, Any]  # outputs of a signature, rows first
Ask = Callable[[Dict[str, Any], str], Answers]  # inputs of a signature, and its name
Item = TypeVar("Item")  # a row: a product with its photos
Read = Callable[[Sequence[Item]], List[StoredPhoto]]  # the photos of the rows of a batch


@dataclass(frozen=True)
class Reader:
    """Reader of the photos of table rows."""

    root: str
    short_side: int  # short side of a stored photo, in pixels
    box: tuple[str, ...] = ()  # columns of product boxes

    def read(self, rows: Sequence[dict[str, str]]) -> list[StoredPhoto]:
        """Return the photos of the rows; a row without photos has one entry with an error."""
        stored = []
        for i, row in enumerate(rows):
            paths = table.image_paths(row[table.IMAGE])
            if not paths:
                stored.append(StoredPhoto(i, b"", "no image named"))
            cells = boxes.join([row[column] for column in self.box])
            for path, box in zip(paths, boxes.of_photos(cells, len(paths))):
                try:
                    raw = photos.read_raw(self.root, path)
                    photo = photos.store(raw, self.short_side, photos.parse_box(box))
                    stored.append(StoredPhoto(i, photo.encoded, ""))
                except photos.PhotoError as error:
                    stored.append(StoredPhoto(i, b"", f"{path}: {error}"))
        return stored


def local(model: ExportedModel) -> Scorer:
    """Return a scorer that calls the network of a loaded model."""
    forward = model.of_stored()

    def score(stored: Sequence[bytes]) -> Scores:
        scores, _, errors = forward(tf.constant(stored))
        return Scores(scores.numpy(), [error.decode() for error in errors.numpy()])

    return score


def remote(address: str, model: Description) -> Scorer:
    """Return a scorer that calls the `stored_scores` signature of a server.

    Args:
      address: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL.
      model: the model that the server must serve; of an older export only the values are compared.

    Raises:
      InputError: if the address is invalid. The scorer raises InputError if the server serves
        another model, and like `Client.predict`.
    """
    client = _client(address)
    digest, schema = model.facts.digest, model.schema
    if not digest:
        logging.warning(
            "%s: exported by an older version, so only the values can be compared with the model "
            "of %s; export the run again and serve the new export",
            *(model.origin, address),
        )

    def score(stored: Sequence[bytes]) -> Scores:
        outputs = client.predict({"stored": stored}, "stored_scores")
        if list(outputs["names"][0]) != schema.value_names:
            raise InputError(f"{address}: serves a model with another schema than {model.origin}")
        served = set(outputs["model"].tolist()) if "model" in outputs else {""}
        if served != {digest}:
            other = ", ".join(sorted(served)) or "unknown: an older export"
            raise InputError(
                f"{address}: serves another model (digest {other}) than {model.origin} "
                f"(digest {digest or 'unknown: an older export'}): use the served model, or serve "
                "this one"
            )
        return Scores(outputs["scores"], list(outputs["error"]))

    return score


class Context:
    """What a model reads of products besides their photos."""

    def __init__(self, ask: Ask, schema: Schema):
        """See `local_context` and `remote_context`."""
        self._ask, self._schema = ask, schema

    def combine(self, scores: np.ndarray, present: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Return the scores of products with what is known of them, float32 [N, V].

        Args:
          scores: of the photos alone, float32 [N, V], NaN for a product without a readable photo.
          present: known values, bool [N, V].
          texts: N.
        """
        # JSON has no NaN
        seen = np.flatnonzero(np.isfinite(scores[:, 0]))
        if not len(seen):
            return scores
        given = self._inputs(present[seen], [texts[i] for i in seen.tolist()])
        outputs = self._answers({"scores": scores[seen], **given}, "in_context")
        result = scores.copy()
        result[seen] = outputs["scores"]
        return result

    def shares(
        self, present: np.ndarray, texts: Sequence[str], value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the known cells and words with the largest shares in scores, BATCH rows at once.

        Args:
          present: known values, bool [N, V].
          texts: N.
          value: the values of the scores, int32 [N, A], positions among the V; -1 for none.

        Returns:
          Sources str [N, A, 3], "" for none, and their shares float32 [N, A, 3], in log-odds.
        """
        found: list[Answers] = []
        for start in range(0, len(texts), BATCH):
            part = slice(start, start + BATCH)
            given = {**self._inputs(present[part], texts[part]), "value": value[part]}
            found.append(self._answers(given, "shares"))
        source, log_odds = ([each[name] for each in found] for name in ("source", "log_odds"))
        return np.concatenate(source), np.concatenate(log_odds)

    def _inputs(self, present: np.ndarray, texts: Sequence[str]) -> dict[str, Any]:
        return {"known": known_cells(self._schema, present), "text": list(texts)}

    def _answers(self, inputs: dict[str, Any], signature: str) -> Answers:
        outputs = self._ask(inputs, signature)
        if wrong := next(filter(None, outputs["error"]), ""):  # cells were checked before
            raise InputError(wrong)
        return outputs


def local_context(model: ExportedModel) -> Context:
    """Return the context of a loaded model."""

    def ask(inputs: dict[str, Any], signature: str) -> Answers:
        given = {name: tf.constant(values) for name, values in inputs.items()}
        outputs = model.signatures[signature](**given)
        return {name: _as_text(values.numpy()) for name, values in outputs.items()}

    return Context(ask, model.schema)


def remote_context(address: str, model: Description) -> Context:
    """Return the context of the model that a server serves; for errors see `remote`."""
    client = _client(address)

    def ask(inputs: dict[str, Any], signature: str) -> Answers:
        outputs = client.predict(inputs, signature)
        if set(outputs["model"].tolist()) != {model.facts.digest}:
            raise InputError(f"{address}: serves another model than {model.origin}")
        return outputs

    return Context(ask, model.schema)


def _as_text(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    return np.array([text.decode() for text in array.ravel()], object).reshape(array.shape)


def describe_served(address: str) -> Description:
    """Return the description of the model that a server serves.

    Raises:
      InputError: if the address is invalid, or the model was exported by an older release; and like
        `Client.predict`.
    """
    client = _client(address)
    try:
        outputs = client.predict({"rows": [""]}, "description")
    except TemporaryError:
        raise
    except InputError as error:
        raise InputError(
            f"{error}; a model of an older release has no signature `description`: export it again"
        ) from error
    model_json, schema_yaml = (str(outputs[name][0]) for name in ("model_json", "schema_yaml"))
    return parse_description(model_json, schema_yaml, address)


def _client(address: str) -> Client:
    with extra("serving"):
        from attr_extractor.serving.client import Client
    place, _, name = address.rpartition("/")
    if not name or "://" not in place:
        raise InputError(f"{address}: write the server's address as grpc://HOST:PORT/MODEL")
    return Client(place, name, batch_size=BATCH)


def in_batches(rows: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield lists of BATCH rows, the last one shorter."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch


def read_ahead(
    batches: Iterable[Sequence[Item]], read: Read[Item]
) -> Iterator[tuple[int, list[StoredPhoto]]]:
    """Yield the size and the photos of each batch, in order; row numbers count from the batch.

    Threads read the next batches while the current one is used.
    """
    return _map_ahead(lambda batch: (len(batch), read(batch)), batches, READ_AHEAD)


def pooled(
    batches: Iterable[Sequence[Item]], read: Read[Item], score: Scorer, num_values: int
) -> Iterator[Scores]:
    """Yield the scores of batches of rows, in order.

    A row's scores are means over its photos, NaN if none was readable. `score` is called from
    several threads.
    """

    def score_batch(batch: tuple[int, list[StoredPhoto]]) -> Scores:
        size, stored = batch
        return _pool(stored, size, score, num_values)

    return _map_ahead(score_batch, read_ahead(batches, read), SCORED_AT_ONCE)


def _map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the results in order; at most `threads` calls run ahead, each in a thread.

    Executor.map would submit all calls at once and keep their results in memory.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        first = itertools.islice(remaining, threads)
        calls = deque(pool.submit(function, item) for item in first)
        while calls:
            result = calls.popleft().result()
            calls.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
            yield result


def _pool(batch: Sequence[StoredPhoto], size: int, score: Scorer, num_values: int) -> Scores:
    """Return the scores of `size` rows."""
    errors: list[list[str]] = [[] for _ in range(size)]
    for photo in batch:
        if photo.error:
            errors[photo.row].append(photo.error)
    readable = [photo for photo in batch if photo.encoded]
    sums = np.zeros([size, num_values], np.float64)
    counts = np.zeros(size, np.int64)
    for start in range(0, len(readable), BATCH):  # a row may list any number of photos
        part = readable[start : start + BATCH]
        for photo, scores, error in zip(part, *score([photo.encoded for photo in part])):
            if error:
                errors[photo.row].append(error)
            else:
                sums[photo.row] += scores
                counts[photo.row] += 1
    means = sums / np.where(counts, counts, 1)[:, np.newaxis]
    means[counts == 0] = np.nan
    return Scores(means.astype(np.float32), [_shortened("; ".join(each)) for each in errors])


def _shortened(error: str) -> str:
    """Return the error of a row, shortened to a length that a cell can contain."""
    return error if len(error) <= LONGEST_ERROR else f"{error[:LONGEST_ERROR]} ..."
