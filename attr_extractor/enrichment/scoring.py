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
from typing import TypeVar

import numpy as np
import tensorflow as tf
from absl import logging

from attr_extractor.catalogue import boxes, photos, table
from attr_extractor.errors import InputError, extra
from attr_extractor.serving.model_dir import Description, ExportedModel

BATCH = 32  # photos per call of the model, rows read per task
MOST_SAID = 10_000  # maximum characters of a row's error, as a row may list any number of photos
READ_AHEAD = max(3, os.cpu_count() or 1)  # batches of rows
SCORED_AT_ONCE = 2  # batches: while one is in the network, the photos of the next are decoded

T = TypeVar("T")
R = TypeVar("R")

# stored photos -> scores float32 [N, V], and an error per photo, "" if it was readable
Scorer = Callable[[Sequence[bytes]], "tuple[np.ndarray, list[str]]"]


@dataclass(frozen=True)
class Reader:
    """Reader of the photos of table rows."""

    root: str
    short_side: int  # short side of a stored photo, in pixels
    box: tuple[str, ...] = ()  # columns of product boxes

    def read(self, rows: Sequence[dict[str, str]]) -> list[tuple[int, bytes, str]]:
        """Return (row, stored photo, "") or (row, b"", reason) for each photo of the rows."""
        found = []
        for i, row in enumerate(rows):
            paths = table.image_paths(row[table.IMAGE])
            if not paths:
                found.append((i, b"", "no image named"))
            cells = boxes.join([row[column] for column in self.box])
            for path, box in zip(paths, boxes.of_photos(cells, len(paths))):
                try:
                    raw = photos.read_raw(self.root, path)
                    photo = photos.store(raw, self.short_side, photos.parse_box(box))
                    found.append((i, photo.encoded, ""))
                except photos.PhotoError as error:
                    found.append((i, b"", f"{path}: {error}"))
        return found


def local(model: ExportedModel) -> Scorer:
    """Return a scorer that calls the `scores` signature of a loaded model."""
    signature = model.signatures["scores"]

    def score(stored: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        outputs = signature(image_bytes=tf.constant(stored))
        return outputs["scores"].numpy(), [error.decode() for error in outputs["error"].numpy()]

    return score


def remote(address: str, model: Description) -> Scorer:
    """Return a scorer that calls the `scores` signature of a server.

    Args:
      address: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL.
      model: the model that the server must serve; of an older export only the values are compared.

    Raises:
      InputError: if the address is invalid. The scorer raises InputError if the server serves
        another model, and like `Client.predict`.
    """
    with extra("serving"):
        from attr_extractor.serving.client import Client
    place, _, name = address.rpartition("/")
    if not name or "://" not in place:
        raise InputError(f"--server={address}: write grpc://HOST:PORT/MODEL")
    client = Client(place, name, batch_size=BATCH)
    digest, schema = model.facts.digest, model.schema
    if not digest:
        logging.warning(
            "%s: exported by an older version, so only the values can be compared with the model "
            "of %s; export the run again and serve the new export",
            *(model.path, address),
        )

    def score(stored: Sequence[bytes]) -> tuple[np.ndarray, list[str]]:
        outputs = client.photos(stored, "scores")
        if list(outputs["names"][0]) != schema.value_names:
            raise InputError(f"{address}: serves a model with another schema than {model.path}")
        told = set(outputs["model"].tolist()) if "model" in outputs else {""}
        if told != {digest}:
            other = ", ".join(sorted(told)) or "unknown: an older export"
            raise InputError(
                f"{address}: serves another model (digest {other}) than --model={model.path} "
                f"(digest {digest or 'unknown: an older export'}): pass the served model as "
                "--model, or serve this one"
            )
        return outputs["scores"], list(outputs["error"])

    return score


def read_ahead(
    rows: Sequence[dict[str, str]], reader: Reader
) -> Iterator[list[tuple[int, bytes, str]]]:
    """Yield `Reader.read` of BATCH rows at a time, in order; row numbers count from the batch.

    Threads read the next batches while the current one is used.
    """
    starts = range(0, len(rows), BATCH)
    return _ahead(lambda start: reader.read(rows[start : start + BATCH]), starts, READ_AHEAD)


def pooled(
    rows: Sequence[dict[str, str]], reader: Reader, score: Scorer, num_values: int
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield batches of rows in order: scores float32 [rows, V] and an error per row.

    Scores are means over a row's photos, NaN if none was readable. `score` is called from several
    threads.
    """

    def score_batch(
        batch: tuple[int, list[tuple[int, bytes, str]]],
    ) -> tuple[np.ndarray, list[str]]:
        size = min(BATCH, len(rows) - batch[0] * BATCH)
        return _pool(batch[1], size, score, num_values)

    return _ahead(score_batch, enumerate(read_ahead(rows, reader)), SCORED_AT_ONCE)


def _ahead(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the results in order; at most `threads` calls run ahead, each in a thread.

    Executor.map would submit all calls at once and keep their results in memory.
    """
    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(function, item) for item in itertools.islice(left, threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(left, 1))
            yield result


def _pool(
    found: Sequence[tuple[int, bytes, str]], size: int, score: Scorer, num_values: int
) -> tuple[np.ndarray, list[str]]:
    reasons: list[list[str]] = [[] for _ in range(size)]
    for i, _, reason in found:
        if reason:
            reasons[i].append(reason)
    stored = [(i, encoded) for i, encoded, _ in found if encoded]
    sums = np.zeros([size, num_values], np.float64)
    counts = np.zeros(size, np.int64)
    for start in range(0, len(stored), BATCH):  # a row may list any number of photos
        part = stored[start : start + BATCH]
        scores, errors = score([encoded for _, encoded in part])
        for (i, _), row, error in zip(part, scores, errors):
            if error:
                reasons[i].append(error)
            else:
                sums[i] += row
                counts[i] += 1
    means = sums / np.where(counts, counts, 1)[:, np.newaxis]
    means[counts == 0] = np.nan
    return means.astype(np.float32), [_bounded("; ".join(each)) for each in reasons]


def _bounded(reason: str) -> str:
    """Return the error of a row, shortened to a length that a cell can contain."""
    return reason if len(reason) <= MOST_SAID else f"{reason[:MOST_SAID]} ..."
