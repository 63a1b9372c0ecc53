"""Photos with their predictions, for the paper's figure 7."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.labels import MISSING, decode
from attr_extractor.model.answers import Answers

PHOTOS = 24


@dataclass(frozen=True)
class Row:
    """One attribute of one photo."""

    attribute: str
    answered: list[str]
    labelled: list[str] | None  # None: missing; []: does not apply
    score: float  # of the best answered value; 0 without an answer
    unjudged: frozenset[str] = frozenset()  # values whose own label is missing

    @property
    def verdict(self) -> str:
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
class Sample:
    """One photo as the model saw it, uint8 [H, W, 3], and its rows."""

    product_id: str
    pixels: np.ndarray
    rows: list[Row]


def collect(
    scores_of: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[dict[str, tf.Tensor]],
    answers: Answers,
    count: int = PHOTOS,
) -> list[Sample]:
    """Return the first photos of a split, which is in shuffled order, with answers and labels.

    Args:
      scores_of: logits [B, V] -> scores [B, V].
      batches: dicts of `logits`, `pixels`, `labels` and `product_id`.
    """
    samples: list[Sample] = []
    for batch in batches:
        scores = scores_of(batch["logits"])
        chosen = answers.chosen(scores).numpy()
        for i, product in enumerate(batch["product_id"].numpy()):
            if len(samples) == count:
                return samples
            rows = _rows(answers, scores[i].numpy(), chosen[i], batch["labels"][i].numpy())
            samples.append(Sample(product.decode(), batch["pixels"][i].numpy(), rows))
    return samples


def _rows(
    answers: Answers, scores: np.ndarray, chosen: np.ndarray, labels: np.ndarray
) -> list[Row]:
    labelled = decode(answers.schema, labels)
    answered = decode(answers.schema, chosen.astype(np.int8))
    rows = []
    for name, where in answers.schema.slices.items():
        best = float(np.max(scores[where] * chosen[where]))
        values = answers.schema[name].values
        unjudged = frozenset(v for v, y in zip(values, labels[where]) if y == MISSING)
        rows.append(Row(name, answered[name] or [], labelled[name], best, unjudged))
    return rows


def jpeg(pixels: np.ndarray, side: int, quality: int = 80) -> bytes:
    """Encode uint8 [H, W, 3] as a JPEG file of at most `side` pixels per side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()
