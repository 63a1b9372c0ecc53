"""Scores of a model on a split, in one pass over its predictions; missing labels are ignored.

Three counts per photo and attribute decide equation 2 of the paper: `present` values, `given`
values (answered, and their label is known), and `hits`, those that are both. `figures` sums these
quantities, `curves` and `confusion` count by value. Memory does not depend on the split. A second
model can be measured in the same pass, on the same photos.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation import figures
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.confusion import Confusions
from attr_extractor.evaluation.curves import CUT_OFFS, RiskCoverage, ScoreHistogram
from attr_extractor.evaluation.figures import KEYS, Totals, number
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.labels import MISSING, PRESENT, category_of
from attr_extractor.model.answers import Answers
from attr_extractor.schema import Schema

MIN_PHOTOS = 20  # minimum photos of a category listed among the worst
WORST_CATEGORIES = 20  # maximum listed


def equation_2(hits: np.ndarray, given: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Compute |Y and P| / |Y or P| from the sizes of Y and P, Y, P; 1 if both sets are empty.

    Y is the set of a sample's values (`present`), P the set of answered values (`given`). The
    headline score is the mean over samples to which the attribute applies. The paper's score is the
    mean over all samples with a known label, which pairs of empty sets inflate.
    """
    union = given + present - hits
    return np.divide(hits, union, out=np.ones(union.shape), where=union > 0)


def count_values(marked: np.ndarray, schema: Schema) -> np.ndarray:
    """Count the marked values of each attribute: bool [B, V] -> float64 [B, T]."""
    starts = [where.start for where in schema.slices.values()]
    return np.add.reduceat(marked, starts, axis=1, dtype=np.float64)


class Answered(NamedTuple):
    """A model's scores and answers for B photos."""

    scores: np.ndarray  # float32 [B, V]
    chosen: np.ndarray  # bool [B, V], the answered values
    best: np.ndarray  # bool [B, V], the best value of each attribute, regardless of thresholds


@dataclass(frozen=True)
class Contender:
    """A model's rules for scores and answers, which are those of the exported model."""

    scores_of: Callable[[tf.Tensor], tf.Tensor]  # logits [B, V] -> scores [B, V]
    answers: Answers

    def answer(self, logits: np.ndarray) -> Answered:
        """Return scores and answers for logits float32 [B, V]."""
        scores = self.scores_of(tf.convert_to_tensor(logits))
        chosen, best = self.answers.chosen(scores), self.answers.best(scores)
        return Answered(scores.numpy(), chosen.numpy(), best.numpy())


def quantities(
    schema: Schema, labels: np.ndarray, answered: Answered, usual: MostFrequent
) -> np.ndarray:
    """Return the quantities of figures.KEYS per photo and attribute, float64 [B, K, T]."""
    is_present, is_known = labels == PRESENT, labels != MISSING  # [B, V]
    present = count_values(is_present, schema)  # [B, T]
    given = count_values(answered.chosen & is_known, schema)
    hits = count_values(answered.chosen & is_present, schema)
    known = count_values(is_known, schema) > 0
    applies = present > 0
    answers = count_values(answered.chosen, schema) > 0
    score = equation_2(hits, given, present)
    judged = applies & (given > 0)

    def of_guess(values: np.ndarray) -> np.ndarray:
        """Compute equation 2 of one guessed value per attribute, int [B, T] among the V."""
        guessed = np.take_along_axis(labels, values, axis=1)
        return equation_2(1.0 * (guessed == PRESENT), 1.0 * (guessed != MISSING), present)

    most_frequent = of_guess(np.tile(usual.overall, (len(labels), 1)))
    given_category = np.full_like(score, np.nan)
    if usual.by_category is not None:
        given_category = of_guess(usual.given_category(category_of(labels, schema)))
    by_key = {
        "known": known,
        "applies": applies,
        "score": score * applies,
        "score_all": score * known,
        "most_frequent": most_frequent * applies,
        "most_frequent_all": most_frequent * known,
        "given_category": given_category * applies,
        "exact": (score == 1) & applies,
        "best_known": (count_values(answered.best & is_known, schema) > 0) & applies,
        "right": count_values(answered.best & is_present, schema) > 0,
        "answered": answers & applies,
        "judged": judged,
        "judged_score": score * judged,
        "answered_not_applicable": answers & known & ~applies,
        "hits": hits,
        "given": given,
        "half_sizes": (given + present) / 2,
        "present": present,
    }
    return np.stack([by_key[key] for key in KEYS], axis=1).astype(np.float64)


class Tally:
    """Sums over photos, for all figures of attributes and values."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self.totals = Totals(len(schema.names))
        self.histogram = ScoreHistogram(schema.num_values)
        # photos by value; a sample to which an attribute does not apply is known to have none of
        # its values, so any answer for it is wrong (the paper's section 5)
        self.support, self.predicted, self.hits, self.no_answer = (
            np.zeros(schema.num_values, np.int64) for _ in range(4)
        )

    def add(
        self, labels: np.ndarray, answered: Answered, summed: np.ndarray, weights: np.ndarray
    ) -> None:
        """Add photos: int8 [B, V] labels, their `quantities`, and bootstrap weights [R, B]."""
        self.totals.add(summed, weights)
        self.histogram.add(answered.scores, labels)
        present, chosen = labels == PRESENT, answered.chosen
        silent = count_values(chosen, self.schema) == 0  # [B, T]
        self.support += present.sum(axis=0)
        self.predicted += (chosen & (labels != MISSING)).sum(axis=0)
        self.hits += (chosen & present).sum(axis=0)
        self.no_answer += (present & silent[:, self.schema.attribute_of_value]).sum(axis=0)

    def rates(self) -> dict[str, np.ndarray]:
        """Return precision, recall, f1, average_precision and its maximum error, float64 [V]."""
        average_precision, error = self.histogram.per_value()
        with np.errstate(invalid="ignore"):
            return {
                "precision": self.hits / self.predicted,
                "recall": self.hits / self.support,
                "f1": 2 * self.hits / (self.predicted + self.support),
                "average_precision": average_precision,
                "error": error,
            }

    def summary(self, rates: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return `photos`, `mean` and `attributes`, from the result of `rates`."""
        attributes = figures.per_attribute(self.schema, self.totals)
        for name, where in self.schema.slices.items():
            seen = self.support[where] > 0
            macro = {key: _macro(rate[where][seen]) for key, rate in rates.items()}
            for key in ("precision", "recall", "f1", "average_precision"):
                attributes[name][f"macro_{key}"] = number(macro[key])
            pooled, error = self.histogram.pooled(where)
            attributes[name]["micro_average_precision"] = number(pooled)
            attributes[name]["average_precision_error"] = number(max(error, macro["error"]))
        mean = figures.mean(attributes, self.totals)
        return {"photos": self.totals.photos, "mean": mean, "attributes": attributes}

    def per_value(self, rates: dict[str, np.ndarray], name: str) -> dict[str, dict[str, Any]]:
        """Return counts of known labels and rates of an attribute's values; None if undefined."""
        counts = {
            "support": self.support,
            "predicted": self.predicted,
            "no_answer": self.no_answer,
        }
        return {
            value: {
                **{key: int(count[v]) for key, count in counts.items()},
                **{key: number(rate[v]) for key, rate in rates.items() if key != "error"},
            }
            for v, value in enumerate(self.schema[name].values, self.schema.slices[name].start)
        }


def _macro(rates: np.ndarray) -> float:
    """Return the mean over values with support; NaN if there are none.

    A value with support that was never answered counts 0, as in scikit-learn's macro average with
    `zero_division=0` over the labels that occur.
    """
    return float(np.nan_to_num(rates).mean()) if len(rates) else float("nan")


class ByCategory:
    """Sums and counts of equation 2 by category; memory: C x T numbers."""

    def __init__(self, schema: Schema):
        self.schema = schema
        size = [len(schema[schema.category].values), len(schema.names)]
        self.photos = np.zeros(size[0], np.int64)
        self.sums, self.counts = np.zeros(size), np.zeros(size, np.int64)  # [C, T]

    def add(self, labels: np.ndarray, summed: np.ndarray) -> None:
        """Add photos: int8 [B, V] labels and their `quantities`."""
        category = category_of(labels, self.schema)
        known = category >= 0
        score, applies = (summed[:, KEYS.index(key)] for key in ("score", "applies"))
        np.add.at(self.photos, category[known], 1)
        np.add.at(self.sums, category[known], score[known])
        np.add.at(self.counts, category[known], applies[known].astype(np.int64))

    def scores(self) -> dict[str, dict[str, Any]]:
        """Return `photos` and `score` of each category that has photos, worst first.

        Each category also has `photos` and `score` of its attributes. A category's score is the
        mean over all known labels of its photos, so an attribute with few labels has little weight.
        """
        by_category: dict[str, dict[str, Any]] = {}
        for c, category in enumerate(self.schema[self.schema.category].values):
            if not self.photos[c]:
                continue
            by_category[category] = {
                "photos": int(self.photos[c]),
                "score": number(self.sums[c].sum() / self.counts[c].sum()),
                "attributes": {
                    self.schema.names[t]: {
                        "score": number(self.sums[c, t] / self.counts[c, t]),
                        "photos": int(self.counts[c, t]),
                    }
                    for t in np.flatnonzero(self.counts[c])
                },
            }
        return dict(sorted(by_category.items(), key=lambda item: item[1]["score"]))


class Measurement:
    """Sums over a split for one model, and for a second model that it is compared with."""

    def __init__(
        self,
        schema: Schema,
        usual: MostFrequent,
        near_duplicates: Collection[tuple[str, int]] | None = None,
        compared: bool = False,
    ):
        """Start with empty sums; see `measure` for the arguments."""
        self.schema, self.usual, self.near_duplicates = schema, usual, near_duplicates
        self.all = Tally(schema)
        self.unlike = None if near_duplicates is None else Tally(schema)
        self.other = Totals(len(schema.names)) if compared else None
        self.confusions = Confusions(schema)
        self.risk = RiskCoverage(len(schema.names))
        self.categories = ByCategory(schema)

    def add(self, photos: Predictions, answered: Answered, other: Answered | None = None) -> None:
        """Add a block of photos with the answers of one or two models."""
        labels = np.asarray(photos.labels)
        weights = figures.bootstrap_weights(photos.product_ids)
        summed = quantities(self.schema, labels, answered, self.usual)
        self.all.add(labels, answered, summed, weights)
        if self.unlike is not None and self.near_duplicates is not None:
            keep = np.array([photo not in self.near_duplicates for photo in photos.keys])
            kept = Answered(*(array[keep] for array in answered))
            self.unlike.add(labels[keep], kept, summed[keep], weights[:, keep])
        if self.other is not None and other is not None:
            self.other.add(quantities(self.schema, labels, other, self.usual), weights)
        self.confusions.add(labels, answered.chosen)
        starts = [where.start for where in self.schema.slices.values()]
        confidence = np.maximum.reduceat(answered.scores, starts, axis=1)  # [B, T]
        judged, right = (summed[:, KEYS.index(key)] > 0 for key in ("best_known", "right"))
        self.risk.add(confidence, judged, right)
        self.categories.add(labels, summed)

    def result(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the figures and the details, see `measure`."""
        rates, categories = self.all.rates(), self.categories.scores()
        measured = self.all.summary(rates)
        for t, (name, attribute) in enumerate(measured["attributes"].items()):
            place = self.usual.overall[t] - self.schema.slices[name].start
            attribute["most_frequent_value"] = self.schema[name].values[place]
        measured["worst_categories"] = [
            {"category": name, "score": c["score"], "photos": c["photos"]}
            for name, c in categories.items()
            if c["photos"] >= MIN_PHOTOS
        ][:WORST_CATEGORIES]
        if self.unlike is not None:
            unlike = self.unlike.summary(self.unlike.rates())
            measured["without_near_duplicates"] = {
                "photos": unlike["photos"],
                "left_out": measured["photos"] - unlike["photos"],
                "mean": unlike["mean"],
            }
        if self.other is not None:
            totals = (self.all.totals, self.other)
            measured["comparison"] = figures.differences(self.schema, *totals)
        return measured, self._details(rates, categories)

    def _details(self, rates: dict[str, np.ndarray], categories: dict[str, Any]) -> dict[str, Any]:
        curves, pairs = self.risk.curves(), self.confusions.most_confused()
        return {
            "cut_offs": [round(float(cut_off), 3) for cut_off in CUT_OFFS],
            "risk_coverage": self.risk.pooled(),
            "categories": categories,
            "confusion_counts_too_low_by_at_most": self.confusions.missed,
            "attributes": {
                name: {
                    "risk_coverage": curves[t],
                    "most_confused": pairs[name],
                    "values": self.all.per_value(rates, name),
                }
                for t, name in enumerate(self.schema.names)
            },
        }


def measure(
    contender: Contender,
    blocks: Iterable[Predictions],
    usual: MostFrequent,
    near_duplicates: Collection[tuple[str, int]] | None = None,
    other: tuple[Contender, Iterable[Predictions]] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a model on a split, also without the photos that resemble a training photo.

    Args:
      blocks: the model's predictions, see `Predictions.blocks`.
      usual: baseline guesses, scored on the same rows.
      near_duplicates: product and `image_index` of those photos; None if unknown.
      other: a second model and its predictions of the same photos, in blocks of the same size.

    Returns:
      The figures and the details: long tables by value and category.

      Figures: `photos`; `attributes`, per attribute the headline `score` over samples to which it
      applies, its `interval`, the paper's `score_all` over all samples with a known label, the
      headline score of `most_frequent` and `most_frequent_given_category` with the `gain` over
      each, `accuracy` of the best value, `coverage` (share answered), `answered_accuracy`
      (equation 2 over answered samples), `exact_match`, `micro_` and `macro_` (over values with
      support) `precision`, `recall`, `f1` and `average_precision` over all known labels, and
      counts; `mean` over attributes; `worst_categories`; if requested `without_near_duplicates`
      (`photos`, `left_out`, `mean`) and `comparison`.
    """
    measurement = Measurement(
        contender.answers.schema, usual, near_duplicates, compared=other is not None
    )
    second: Iterable[Answered | None] = itertools.repeat(None)
    if other is not None:
        second = (other[0].answer(block.logits) for block in other[1])
    for block, answered_by_other in zip(blocks, second):
        measurement.add(block, contender.answer(block.logits), answered_by_other)
    return measurement.result()
