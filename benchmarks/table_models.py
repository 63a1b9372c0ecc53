"""scikit-learn's models of a product's cells and words, without its photo.

For each exclusive attribute a model is fitted on the training split to the other known values and
the most frequent words of the text, as 0 or 1 each, as the context of a run is (context.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from attr_extractor.evaluation.calibrate import Reliability
from attr_extractor.labels import PRESENT
from attr_extractor.records import dataset
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir

# by the name of its row; boosting fits a tree per value and iteration
MODELS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=300),
    "gradient boosting": lambda: HistGradientBoostingClassifier(
        max_iter=20, max_bins=2, l2_regularization=1.0, early_stopping=False
    ),
}
WORDS = 300  # most frequent words of the training texts
RARELY = 3  # training texts that a word needs


class TableFigures(NamedTuple):
    """Means over exclusive attributes, of the rows whose cell is filled."""

    accuracy: float  # of the best value
    calibration_error: float  # of its score


class Products(NamedTuple):
    """What is known of N products."""

    present: np.ndarray  # bool [N, V]
    texts: list[str]


def of_split(run: RunDir, split: str) -> Products:
    """Return the products of the photos of a split, in the order of the records."""
    batches = list(dataset.label_batches(run.records, run.manifest(), split))
    labels = np.concatenate([batch["labels"].numpy() for batch in batches])
    return Products(labels == PRESENT, [t.decode() for b in batches for t in b["text"].numpy()])


def measure(
    schema: Schema,
    train: Products,
    asked: Products,
    make: Callable[[], Any],
    together: Sequence[Sequence[str]] = (),
) -> TableFigures:
    """Fit a model per exclusive attribute on `train` and measure it on `asked`.

    Args:
      make: returns an untrained classifier of scikit-learn.
      together: sets of attributes; a model does not read the attributes of its own one's set.
    """
    seen_words, asked_words = _words(train.texts, asked.texts)
    scores = np.zeros(asked.present.shape, np.float32)
    fitted = np.zeros(asked.present.shape, bool)
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        has, ask = (each.present[:, where].any(axis=1) for each in (train, asked))
        values = train.present[has][:, where].argmax(axis=1)
        if not attribute.exclusive or not ask.any() or len(np.unique(values)) < 2:
            continue
        hidden = {attribute.name}.union(*(each for each in together if attribute.name in each))
        read = ~np.isin(schema.attribute_of_value, [schema.index[name] for name in hidden])
        model = make()
        model.fit(np.hstack([train.present[has][:, read], seen_words[has]]), values)
        found = model.predict_proba(np.hstack([asked.present[ask][:, read], asked_words[ask]]))
        rows = np.flatnonzero(ask)[:, np.newaxis]
        scores[rows, where.start + model.classes_] = found
        fitted[ask, where] = True
    return _figures(schema, scores, asked.present, fitted)


def _words(train: list[str], asked: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which words each text has, float32 [N, W]; W = 0 without texts."""
    if not any(train):
        return np.zeros([len(train), 0], "f"), np.zeros([len(asked), 0], "f")
    counts = CountVectorizer(min_df=RARELY, max_features=WORDS, binary=True, dtype=np.float32)
    return counts.fit_transform(train).toarray(), counts.transform(asked).toarray()


def _figures(
    schema: Schema, scores: np.ndarray, present: np.ndarray, fitted: np.ndarray
) -> TableFigures:
    right = []
    best = np.zeros(scores.shape, bool)
    for where in schema.slices.values():
        rows = np.flatnonzero(fitted[:, where.start])
        if len(rows):
            answer = where.start + scores[rows, where].argmax(axis=1)
            best[rows, answer] = True
            right.append(float(np.mean(present[rows, answer])))
    reliability = Reliability(schema)
    reliability.add(scores, present.astype(np.int8), best)
    return TableFigures(float(np.mean(right)), float(np.nanmean(reliability.expected_error())))
