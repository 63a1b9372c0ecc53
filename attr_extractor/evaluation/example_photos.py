"""Photos that the report shows: the first ones of a split, and some of each frequent confusion."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.evaluation.confusion import Confusions
from attr_extractor.labels import MISSING, decode
from attr_extractor.model.answers import Answers
from attr_extractor.schema import Schema

EXAMPLES = 24
PHOTOS_PER_PAIR = 3
MAX_PAIRS = 4096
SIDE, QUALITY = 96, 75  # longer side of a confused photo, in pixels; JPEG quality


@dataclass(frozen=True)
class AttributeAnswer:
    """Answer and label of one attribute of one photo."""

    attribute: str
    answered: list[str]
    labelled: list[str] | None  # None: missing; []: does not apply
    score: float  # of the best answered value; 0 without an answer
    unjudged: frozenset[str] = frozenset()  # values whose own label is missing
    told_by: str = ""  # the cells and words with the largest shares in the score, see `told`

    @property
    def outcome(self) -> str:
        """right, wrong, partly right, no answer, or unknown if the label is missing."""
        if self.labelled is None:
            return "unknown"
        judged = set(self.answered) - self.unjudged
        if judged == set(self.labelled):
            return "right"
        if not judged:
            return "no answer"
        return "partly right" if judged & set(self.labelled) else "wrong"


@dataclass(frozen=True)
class ExamplePhoto:
    """One photo as the model saw it, uint8 [H, W, 3], with the answer of each attribute."""

    product_id: str
    pixels: np.ndarray
    answers: list[AttributeAnswer]


def collect_examples(
    scores_of: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[dict[str, tf.Tensor]],
    answers: Answers,
    count: int = EXAMPLES,
) -> list[ExamplePhoto]:
    """Return the first photos of a split, which is in shuffled order, for the paper's figure 7.

    Args:
      scores_of: logits [B, V] -> scores [B, V].
      batches: dicts of `logits`, `pixels`, `labels` and `product_id`.
    """
    examples: list[ExamplePhoto] = []
    for batch in batches:
        scores = scores_of(batch["logits"])
        chosen = answers.chosen(scores).numpy()
        for i, product in enumerate(batch["product_id"].numpy()):
            if len(examples) == count:
                return examples
            labels = batch["labels"][i].numpy()
            of_photo = answers_of(answers.schema, scores[i].numpy(), chosen[i], labels)
            examples.append(ExamplePhoto(product.decode(), batch["pixels"][i].numpy(), of_photo))
    return examples


def answers_of(
    schema: Schema, scores: np.ndarray, chosen: np.ndarray, labels: np.ndarray
) -> list[AttributeAnswer]:
    """Return the answer of each attribute of one photo.

    Args:
      scores: float32 [V].
      chosen: bool [V], the answered values.
      labels: int8 [V].
    """
    labelled = decode(schema, labels)
    answered = decode(schema, chosen.astype(np.int8))
    of_photo = []
    for name, where in schema.slices.items():
        best = float(np.max(scores[where] * chosen[where]))
        values = schema[name].values
        unjudged = frozenset(v for v, y in zip(values, labels[where]) if y == MISSING)
        of_photo.append(AttributeAnswer(name, answered[name] or [], labelled[name], best, unjudged))
    return of_photo


def encode_jpeg(pixels: np.ndarray, side: int, quality: int = 80) -> bytes:
    """Encode uint8 [H, W, 3] as a JPEG file of at most `side` pixels per side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


class ConfusedPhoto(NamedTuple):
    """A small copy of one photo."""

    product_id: str
    jpeg: bytes


class ConfusedPhotos:
    """The first photos of each pair of (true value, answered value).

    Photos of at most MAX_PAIRS pairs are kept, about 40 MB. Above that, the least frequent pairs
    lose their photos and counts, and start again from zero if they recur.
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self._confusions = Confusions(schema)
        self._counts: dict[int, int] = {}
        self._photos: dict[int, list[ConfusedPhoto]] = {}

    def add(self, batch: dict[str, tf.Tensor], labels: np.ndarray, chosen: np.ndarray) -> None:
        """Add a batch with `pixels` uint8 [B, H, W, 3] and `product_id`.

        Args:
          labels: int8 [B, V].
          chosen: bool [B, V], the answered values.
        """
        for row, pair in zip(*(each.tolist() for each in self._confusions.pairs(labels, chosen))):
            self._counts[pair] = self._counts.get(pair, 0) + 1
            photos = self._photos.setdefault(pair, [])
            if len(photos) < PHOTOS_PER_PAIR:
                product = batch["product_id"][row].numpy().decode()
                jpeg = encode_jpeg(batch["pixels"][row].numpy(), SIDE, QUALITY)
                photos.append(ConfusedPhoto(product, jpeg))
        if len(self._counts) > MAX_PAIRS:
            by_count = sorted(self._counts, key=lambda pair: -self._counts[pair])
            for pair in by_count[MAX_PAIRS // 2 :]:
                del self._counts[pair], self._photos[pair]

    def of_pair(self, attribute: str, true: str, answered: str) -> list[ConfusedPhoto]:
        """Return the photos of one confusion; empty if it was not seen or too rare to be kept."""
        start, values = self.schema.slices[attribute].start, self.schema[attribute].values
        places = [start + values.index(value) for value in (true, answered)]
        return self._photos.get(places[0] * self.schema.num_values + places[1], [])
