"""All figures of a split in one pass, in memory independent of the split; ignores missing labels.

A graph computes equation 2 and all other counts of each sample and attribute; the sibling modules
sum them. A second model can be measured in the same pass, on the same photos and with the same
bootstrap draws, so that the interval of the difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.evaluation import bootstrap, by_category, compare
from attr_extractor.evaluation.confusion import Confusions
from attr_extractor.evaluation.example_photos import ConfusedPhotos
from attr_extractor.evaluation.most_frequent import MostFrequent
from attr_extractor.evaluation.risk_coverage import CUT_OFFS, RiskCoverage
from attr_extractor.evaluation.tally import Batch, Tally
from attr_extractor.evaluation.totals import Totals
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model import metrics
from attr_extractor.model.answers import Answers
from attr_extractor.model.per_attribute import any_value, sum_values
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Contender:
    """A model's rules for scores and answers."""

    scores_of: Callable[[tf.Tensor], tf.Tensor]  # logits [B, V] -> scores [B, V]
    answers: Answers
    logits: str = "logits"  # key of the model's logits in a batch


class Measurement:
    """Sums over a split for one model, and for a second model that it is compared with."""

    def __init__(
        self,
        schema: Schema,
        usual: MostFrequent,
        near_duplicates: Collection[tuple[str, int]] | None = None,
        compared: bool = False,
    ):
        """Start with empty sums.

        Args:
          usual: the most frequent values, as baseline guesses.
          near_duplicates: product and `image_index` of the photos that resemble a training photo;
            None if unknown.
          compared: whether there is a second model.
        """
        self.schema, self.usual, self.near_duplicates = schema, usual, near_duplicates
        self.all = Tally(schema)
        self.unlike = None if near_duplicates is None else Tally(schema)
        self.other = Totals(len(schema.names)) if compared else None
        self.confusions = Confusions(schema)
        self.risk = RiskCoverage(len(schema.names))
        self.categories = by_category.ByCategory(schema)

    def add(self, batch: Batch, photos: list[tuple[str, int]], other: Batch | None) -> None:
        """Add one batch of photos, each identified by its product and `image_index`."""
        counted = batch.counted
        self.all.add(batch)
        if self.unlike is not None and self.near_duplicates is not None:
            self.unlike.add(batch.rows(np.array([p not in self.near_duplicates for p in photos])))
        if self.other is not None and other is not None:
            self.other.add(other.sums, other.draws)
        self.confusions.add(batch.labels, batch.chosen)
        self.risk.add(batch.confidence, counted["best_known"] > 0, counted["right"] > 0)
        category = category_of(batch.labels, self.schema)
        self.categories.add(category, counted["score"], counted["applies"])

    def result(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the figures and the details, see `measure`."""
        rates, categories = self.all.rates(), self.categories.scores()
        measured = self.all.summary(rates)
        for t, (name, attribute) in enumerate(measured["attributes"].items()):
            place = self.usual.overall[t] - self.schema.slices[name].start
            attribute["most_frequent_value"] = self.schema[name].values[place]
        measured["worst_categories"] = by_category.worst(categories)
        if self.unlike is not None:
            unlike = self.unlike.summary(self.unlike.rates())
            left_out = measured["photos"] - unlike["photos"]
            measured["without_near_duplicates"] = {
                "photos": unlike["photos"],
                "left_out": left_out,
                "mean": unlike["mean"],
            }
        if self.other is not None:
            measured["comparison"] = compare.differences(self.schema, self.all.totals, self.other)
        return measured, self._details(rates, categories)

    def _details(self, rates: dict[str, np.ndarray], categories: dict[str, Any]) -> dict[str, Any]:
        values, pairs = self.all.per_value(rates), self.confusions.most_confused()
        curves = self.risk.curves()
        return {
            "cut_offs": [round(float(cut_off), 3) for cut_off in CUT_OFFS],
            "risk_coverage": self.risk.pooled(),
            "categories": categories,
            "confusion_counts_too_low_by_at_most": self.confusions.missed,
            "attributes": {
                name: {
                    "risk_coverage": curves[t],
                    "most_confused": pairs[name],
                    "values": values[name],
                }
                for t, name in enumerate(self.schema.names)
            },
        }


def measure(
    contender: Contender,
    batches: Iterable[dict[str, tf.Tensor]],
    usual: MostFrequent,
    near_duplicates: Collection[tuple[str, int]] | None = None,
    other: Contender | None = None,
    confused: ConfusedPhotos | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a model over batches, also without the photos that resemble a training photo.

    Args:
      batches: see `predictions.Predictions.batches`; with `pixels` if `confused` is given.
      usual: baseline guesses, scored on the same rows.
      near_duplicates: product and `image_index` of those photos; None if unknown.
      other: a second model, compared on the same photos.
      confused: collects photos of the model's confusions.

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
    schema = contender.answers.schema
    measurement = Measurement(schema, usual, near_duplicates, other is not None)
    look, look_other = _observer(contender), other and _observer(other)
    for batch in batches:
        labels = batch["labels"].numpy()
        products = batch["product_id"].numpy().tolist()
        draws = bootstrap.weights(products)
        guesses = _guesses(usual, category_of(labels, schema))
        photos = [(p.decode(), i) for p, i in zip(products, batch["image_index"].numpy().tolist())]
        seen = look(batch, labels, guesses, draws)
        seen_by_other = look_other(batch, labels, guesses, draws) if look_other else None
        measurement.add(seen, photos, seen_by_other)
        if confused is not None:
            confused.add(batch, labels, seen.chosen)
    return measurement.result()


def category_of(labels: np.ndarray, schema: Schema) -> np.ndarray:
    """Return the index of each photo's category, int64 [B]; -1 if unknown."""
    present = labels[:, schema.slices[schema.category]] == PRESENT
    return np.where(present.any(axis=1), present.argmax(axis=1), -1)


def _guesses(usual: MostFrequent, category: np.ndarray) -> dict[str, np.ndarray]:
    """Return each known guess as indices among the V, int32 [B, T]."""
    guesses = {"most_frequent": np.tile(usual.overall, (len(category), 1))}
    if usual.by_category is not None:
        guesses["given_category"] = usual.given_category(category)
    return guesses


def _observer(contender: Contender) -> Callable[..., Batch]:
    """Return a function that evaluates the model on a batch."""
    answers, schema = contender.answers, contender.answers.schema
    owner = schema.attribute_of_value

    @tf.function(reduce_retracing=True)
    def look(
        logits: tf.Tensor, labels: tf.Tensor, guesses: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        scores = contender.scores_of(logits)  # [B, V]
        chosen, best = answers.chosen(scores), answers.best(scores)  # [B, V]
        known, present = labels != MISSING, labels == PRESENT  # [B, V]
        found = metrics.agreement(labels, chosen, schema)  # [B, T]
        given = sum_values(chosen & known, schema)  # [B, T]
        counted = {
            **found,
            "answered": any_value(chosen, schema),
            "given": given,
            "present": sum_values(present, schema),
            "hits": sum_values(chosen & present, schema),
            "best_known": any_value(best & known, schema),
            "right": any_value(best & present, schema),
        }
        for name, places in guesses.items():
            marked = tf.gather(places, owner, axis=1) == tf.range(schema.num_values)  # [B, V]
            counted[name] = metrics.agreement(labels, marked, schema)["score"]
        return scores, chosen, counted

    def observe(
        batch: dict[str, tf.Tensor],
        labels: np.ndarray,
        guesses: dict[str, np.ndarray],
        draws: np.ndarray,
    ) -> Batch:
        scores, chosen, counted = look(batch[contender.logits], batch["labels"], guesses)
        by_key = {key: value.numpy().astype(np.float64) for key, value in counted.items()}
        starts = np.array([where.start for where in schema.slices.values()])
        confidence = np.maximum.reduceat(scores.numpy(), starts, axis=1)  # [B, T]
        return Batch(labels, scores.numpy(), chosen.numpy(), confidence, _by_rows(by_key), draws)

    return observe


def _by_rows(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the quantities of totals.KEYS per sample and attribute, float64 [B, T] each."""
    applies, known, given = found["applies"], found["known"], found["given"]
    score, usual, judged = found["score"], found["most_frequent"], (given > 0) * applies
    return {
        "known": known,
        "applies": applies,
        "score": score * applies,
        "score_all": score * known,
        "most_frequent": usual * applies,
        "most_frequent_all": usual * known,
        "given_category": found.get("given_category", np.full_like(score, np.nan)) * applies,
        "exact": (score == 1) * applies,
        "best_known": found["best_known"] * applies,
        "right": found["right"],
        "answered": found["answered"] * applies,
        "judged": judged,
        "judged_score": score * judged,
        "answered_not_applicable": found["answered"] * known * (1 - applies),
        "hits": found["hits"],
        "given": given,
        "half_sizes": (given + found["present"]) / 2,
        "present": found["present"],
    }
