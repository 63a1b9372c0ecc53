"""Made-up samples, measured by the package and independently in plain loops."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation import scores
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.model.answers import Answers, default_thresholds

MadeUp = Tuple[np.ndarray, np.ndarray, List[str]]  # logits [N, V], labels [N, V], products


def predictions_of(made_up: MadeUp) -> Predictions:
    logits, labels, products = made_up
    return Predictions("test", logits, labels, products, np.arange(len(labels)) // 150)


def contender(schema, scores_of=tf.sigmoid) -> scores.Contender:
    return scores.Contender(scores_of, Answers(schema, default_thresholds(schema)))


def usual_of(made_up: MadeUp, schema) -> MostFrequent:
    """Return the most frequent values of the samples themselves."""
    present = (made_up[1] == 1).sum(axis=0)
    values = {n: schema[n].values[np.argmax(present[w])] for n, w in schema.slices.items()}
    return MostFrequent.of(schema, values)


def measure_both(
    made_up: MadeUp, schema, size: int = 32, near_duplicates=None, usual=None, other=None
):
    """Return figures and details; `other`: a second contender with the same logits."""
    usual = usual or usual_of(made_up, schema)
    predicted = predictions_of(made_up)
    second = other and (other, predicted.blocks(size))
    return scores.measure(contender(schema), predicted.blocks(size), usual, near_duplicates, second)


def measure(made_up: MadeUp, schema, size: int = 32, near_duplicates=None, **more):
    """Return the figures alone."""
    return measure_both(made_up, schema, size, near_duplicates, **more)[0]


def by_hand(made_up: MadeUp, schema, name: str, frequent: str | None = None) -> dict[str, float]:
    """Return the scores of one attribute; `frequent`: the baseline's value, by default its own."""
    logits, labels, _ = made_up
    attribute, where = schema[name], schema.slices[name]
    present = (labels[:, where] == 1).sum(axis=0)
    always = {int(np.argmax(present)) if frequent is None else attribute.values.index(frequent)}
    sums: dict[str, list[float]] = {
        key: [] for key in ("score", "all", "base", "right", "answered", "given", "exact")
    }
    hits = wrong = missed = wrong_not_applicable = 0
    for z, y in zip(logits[:, where], labels[:, where]):
        if (y == -1).all():
            continue
        p = 1 / (1 + np.exp(-z))
        chosen = {int(v) for v in np.flatnonzero(p > 0.5)}
        if attribute.exclusive and chosen:
            chosen = {int(np.argmax(p))}
        unknown = {int(v) for v in np.flatnonzero(y == -1)}
        truth = {int(v) for v in np.flatnonzero(y == 1)}
        judged = chosen - unknown

        def eq2(given: set[int], truth: set[int] = truth) -> float:
            return len(given & truth) / len(given | truth) if given | truth else 1.0

        sums["all"].append(eq2(judged))
        hits, wrong = hits + len(judged & truth), wrong + len(judged - truth)
        missed += len(truth - judged)
        wrong_not_applicable += bool(chosen and not truth)
        if truth:
            sums["score"].append(eq2(judged))
            sums["exact"].append(float(judged == truth))
            sums["base"].append(eq2(always - unknown))
            if int(np.argmax(p)) not in unknown:
                sums["right"].append(float(int(np.argmax(p)) in truth))
            sums["answered"].append(float(bool(chosen)))
            if judged:
                sums["given"].append(eq2(judged))
    return {key: float(np.mean(values)) for key, values in sums.items()} | {
        "n": len(sums["score"]),
        "precision": hits / (hits + wrong),
        "recall": hits / (hits + missed),
        "f1": 2 * hits / (2 * hits + wrong + missed),
        "answered_not_applicable": wrong_not_applicable,
    }
