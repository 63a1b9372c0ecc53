"""Calibration of a run: temperatures and thresholds, chosen on its validation split.

The logits of each attribute are divided by its temperature (Guo et al., "On Calibration of Modern
Neural Networks", 2017), which minimises the negative log likelihood of the known labels. Then
`thresholds` chooses the score above which a value is answered. thresholds.json gets the results,
metrics.json, section `calibration`, the calibration errors before and after on both splits. If the
network also reads known cells or text, the factor of their evidence is fitted last, with the
temperatures fixed, by the same likelihood. Thresholds are chosen on the scores of the photo alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor import files
from attr_extractor.evaluation import context, model_card, predictions
from attr_extractor.evaluation import thresholds as choosing
from attr_extractor.evaluation.figures import number
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.scores import Contender, count_values, equation_2
from attr_extractor.labels import MISSING, PRESENT
from attr_extractor.model.answers import Answers
from attr_extractor.model.scoring import Scoring
from attr_extractor.model.thresholds import OfAttribute, Thresholds
from attr_extractor.schema import Schema
from attr_extractor.training import run_files, tracking
from attr_extractor.training.run_dir import RunDir

CHOSEN_ON = "validation"
TEMPERATURES = (0.25, 8.0)  # range; an attribute without errors would have temperature 0
MOST_TRUST = 1.5
HALVINGS = 24  # of the range's logarithm: the relative error of a temperature is 1e-7
BINS = 15  # bins of a reliability diagram, as in Guo et al.


def calibrate(
    run_dir: str | Path, goals: Sequence[str] = (), per_value: bool = False
) -> dict[str, Any]:
    """Fit temperatures, choose thresholds, and write both into the run, replacing earlier ones.

    Args:
      goals: `f1`, `equation_2` or `precision:0.95` for all attributes, by default `f1`; and
        `name=goal` for single attributes.
      per_value: also choose a threshold for each value with enough labels.

    Returns:
      Section `calibration` of metrics.json: `weights_digest`; `thresholds`, the content of
      thresholds.json; per split the result of `measure`.

    Raises:
      InputError: if there is no trained run, the validation split is empty, or a goal is invalid.
    """
    with RunDir.owned(run_dir) as run:
        manifest, uncalibrated = run.manifest(), Thresholds.of_schema(run.schema)
        wanted = choosing.parse_goals(goals, run.schema, per_value)
        manifest.split(CHOSEN_ON)  # fails before anything is computed
        plain, weights = run.scoring(uncalibrated), run.weights_digest
        predicted = {
            split: predictions.predict(run, split)
            for split in (CHOSEN_ON, "test")
            if manifest.splits[split].photos
        }
        chosen = _choose(plain, run.answers(uncalibrated), predicted[CHOSEN_ON], wanted, per_value)
        chosen = chosen.model_copy(update={"weights": weights})
        if inputs := run.config.model.context.names:
            network = run.load_network(chosen)
            added = context.of_split(predicted[CHOSEN_ON], run, None, inputs, network=network)
            trust = fit_trust(run.scoring(chosen), predicted[CHOSEN_ON], added)
            chosen = chosen.with_trust(dict(zip(run.schema.names, trust.round(5).tolist())))
        scaled = plain.with_temperatures(chosen.temperatures(run.schema))
        measured = {
            split: measure(plain, scaled, of_split.blocks(), run.answers(chosen))
            for split, of_split in predicted.items()
        }
        files.write_json(run.path / "thresholds.json", chosen.model_dump())
        section = {"weights_digest": weights, "thresholds": chosen.model_dump(), **measured}
        run.update_metrics("calibration", section)
        model_card.write_card(run)
        with tracking.continued(run) as tracker:
            names = (run_files.METRICS, "thresholds.json", model_card.PAGE)
            tracker.log_section("calibration", names)
        return section


def _choose(
    plain: Scoring,
    answers: Answers,
    predicted: Predictions,
    goals: dict[str, choosing.Goal],
    per_value: bool,
) -> Thresholds:
    """Fit temperatures, then choose thresholds for the scaled scores."""
    schema = plain.schema
    temperatures = np.round(fit_temperatures(plain, predicted, choosing.MIN_PRESENT), 5)
    scaled = plain.with_temperatures(np.repeat(temperatures, schema.sizes).astype(np.float32))
    contender = Contender(scaled.scores_of, answers)
    counts = choosing.Counts(schema, per_value)
    for block in predicted.blocks():
        answered = contender.answer(block.logits)
        counts.add(answered.scores, block.labels, answered.best)
    attributes = {}
    for (name, goal), temperature in zip(goals.items(), temperatures.tolist()):
        threshold = counts.of_attribute(name, goal)
        if threshold is None:  # too few labels
            threshold = choosing.NO_ANSWERS if goal.floor else schema[name].threshold
        attributes[name] = OfAttribute(
            temperature=temperature,
            threshold=threshold,
            goal=str(goal),
            values=counts.of_values(name, goal) if per_value else {},
        )
    return Thresholds(
        fingerprint=schema.fingerprint,
        split=CHOSEN_ON,
        photos=len(predicted.labels),
        attributes=attributes,
    )


def fit_temperatures(scoring: Scoring, predicted: Predictions, min_present: int) -> np.ndarray:
    """Fit the temperature of every attribute by bisection, one pass over the logits per step.

    The negative log likelihood is binary over the values of a sigmoid attribute, and multinomial
    over the samples that have a value for a softmax attribute. It is convex in b = 1 / temperature,
    and its derivative is the same expression in both cases: the sum over known values of
    logit * (score(b) - label).

    Args:
      scoring: the rule from logits to scores; its temperatures are ignored.
      min_present: minimum number of present labels; an attribute with fewer keeps temperature 1.

    Returns:
      float64 [T], within TEMPERATURES.
    """
    schema = scoring.schema
    low, high = (np.full(len(schema.names), np.log(end)) for end in TEMPERATURES)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rising = _slopes(scoring, predicted, np.exp(middle)) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    present = np.zeros(len(schema.names))
    for block in predicted.blocks():
        present += count_values(block.labels == PRESENT, schema).sum(axis=0)
    return np.where(present < min_present, 1.0, np.exp((low + high) / 2))


def fit_trust(scoring: Scoring, predicted: Predictions, evidence: np.ndarray) -> np.ndarray:
    """Fit the factor of the evidence of every attribute by bisection, as `fit_temperatures` does.

    The derivative of the negative log likelihood in the factor is the sum over known values of
    evidence * (score - label).

    Args:
      scoring: its temperatures are used, its `trust` is ignored.
      evidence: float32 [N, V].

    Returns:
      float64 [T], within 0 .. MOST_TRUST; 1 for an attribute with too few labels (see
        `thresholds.MIN_PRESENT`) on samples for which there is evidence.
    """
    schema = scoring.schema
    low, high = np.zeros(len(schema.names)), np.full(len(schema.names), MOST_TRUST)
    for _ in range(HALVINGS):
        present = np.zeros(len(schema.names))
        middle = (low + high) / 2
        trust = np.repeat(middle, schema.sizes).astype(np.float32)
        slopes, start = np.zeros(len(schema.names)), 0
        for block in predicted.blocks():
            added = evidence[start : start + len(block.labels)]
            start += len(block.labels)
            logits = block.logits + scoring.temperatures * trust * added
            gaps = _gaps(scoring, dataclasses.replace(block, logits=logits))
            slopes += count_values(added * gaps, schema).sum(axis=0)
            present += count_values((block.labels == PRESENT) & (added != 0), schema).sum(axis=0)
        low, high = np.where(slopes < 0, middle, low), np.where(slopes < 0, high, middle)
    return np.where(present < choosing.MIN_PRESENT, 1.0, (low + high) / 2)


def _slopes(scoring: Scoring, predicted: Predictions, temperatures: np.ndarray) -> np.ndarray:
    """Return the derivative of each attribute's negative log likelihood in b, float64 [T]."""
    schema = scoring.schema
    scaled = scoring.with_temperatures(np.repeat(temperatures, schema.sizes).astype(np.float32))
    slopes = np.zeros(len(schema.names))
    for block in predicted.blocks():
        slopes += count_values(block.logits * _gaps(scaled, block), schema).sum(axis=0)
    return slopes


def _gaps(scoring: Scoring, block: Predictions) -> np.ndarray:
    """Return score - label of every known value, else 0: float32 [B, V]."""
    schema, present, counted = scoring.schema, block.labels == PRESENT, block.labels != MISSING
    if scoring.softmax.any():  # a softmax cannot express "no value"
        has_value = count_values(present, schema)[:, schema.attribute_of_value] > 0
        counted &= has_value | ~scoring.softmax
    scores = scoring.scores_of(tf.convert_to_tensor(block.logits)).numpy()
    return np.where(counted, scores - present, 0)


class Reliability:
    """Per attribute and bin of the score: count of scores, their sum, and count of right ones."""

    def __init__(self, schema: Schema):
        self.schema = schema
        size = (len(schema.attributes), BINS)
        self.count, self.score, self.right = (np.zeros(size) for _ in range(3))

    def add(self, scores: np.ndarray, labels: np.ndarray, marked: np.ndarray) -> None:
        """Add photos.

        Args:
          scores: float32 [B, V] in 0 .. 1.
          labels: int8 [B, V]; missing labels are ignored.
          marked: bool [B, V], the scores to count.
        """
        where = marked & (labels != MISSING)
        owner = np.broadcast_to(self.schema.attribute_of_value, scores.shape)[where]
        scores, right = scores[where], labels[where] == PRESENT
        place = owner * BINS + np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        for total, weight in ((self.count, None), (self.score, scores), (self.right, right)):
            total += np.bincount(place, weight, total.size).reshape(total.shape)

    def expected_error(self) -> np.ndarray:
        """Return the expected calibration error of each attribute, float64 [T].

        It is the mean over scores of |share right - mean score| of their bin; NaN if the attribute
        has no known label.
        """
        gaps = np.abs(self.right - self.score).sum(axis=1)
        count = self.count.sum(axis=1)
        return np.divide(gaps, count, out=np.full(len(gaps), np.nan), where=count > 0)

    def diagram(self, name: str) -> dict[str, list[Any]]:
        """Return one attribute's non-empty bins: `score` (mean), `right` (share) and `count`."""
        t = self.schema.index[name]
        filled = self.count[t] > 0
        count = self.count[t][filled]
        return {
            "score": np.round(self.score[t][filled] / count, 5).tolist(),
            "right": np.round(self.right[t][filled] / count, 5).tolist(),
            "count": count.astype(int).tolist(),
        }


def measure(
    before: Scoring, after: Scoring, blocks: Iterable[Predictions], answers: Answers
) -> dict[str, Any]:
    """Measure calibration errors before and after, and the answers; missing labels are ignored.

    Returns:
      `photos`; `mean` over attributes; `attributes`: per attribute `before` and `after`, each with
      `ece` of the best value's score, `ece_all_values` of all scores, and the best value's
      `reliability` diagram; `precision` of the answered values, `recall`, `f1`, `equation_2` over
      all samples with a known label, and `coverage`, the share of those samples with an answer.
    """
    schema = after.schema
    rules = {
        "before": Contender(before.scores_of, answers),
        "after": Contender(after.scores_of, answers),
    }
    best = {key: Reliability(schema) for key in rules}
    every = {key: Reliability(schema) for key in rules}
    sums = np.zeros([6, len(schema.names)])
    photos = 0
    for block in blocks:
        labels = np.asarray(block.labels)
        answered = {
            k: Contender(r.scores_of, answers).answer(block.logits) for k, r in rules.items()
        }
        for key, of_rule in answered.items():
            best[key].add(of_rule.scores, labels, of_rule.best)
            every[key].add(of_rule.scores, labels, np.ones(labels.shape, bool))
        is_known, chosen = labels != MISSING, answered["after"].chosen
        known = count_values(is_known, schema) > 0  # [B, T]
        given = count_values(chosen & is_known, schema)
        hits = count_values(chosen & (labels == PRESENT), schema)
        present = count_values(labels == PRESENT, schema)
        score = equation_2(hits, given, present) * known
        summed = (known, given > 0, given, hits, present, score)
        sums += np.stack([values.sum(axis=0) for values in summed])
        photos += len(labels)
    known, answered_samples, given, hits, present, score = sums  # [T] each
    with np.errstate(invalid="ignore", divide="ignore"):
        worth = {
            "precision": hits / given,
            "recall": hits / present,
            "f1": 2 * hits / (given + present),
            "equation_2": score / known,
            "coverage": answered_samples / known,
        }
    errors = {key: (best[key].expected_error(), every[key].expected_error()) for key in rules}
    attributes = {
        name: {
            **{
                key: {
                    "ece": number(errors[key][0][t]),
                    "ece_all_values": number(errors[key][1][t]),
                    "reliability": best[key].diagram(name),
                }
                for key in rules
            },
            **{key: number(value[t]) for key, value in worth.items()},
            "known": int(known[t]),
            "present": int(present[t]),
        }
        for t, name in enumerate(schema.names)
    }
    mean = {
        **{f"ece_{key}": _mean(errors[key][0]) for key in rules},
        **{key: _mean(value) for key, value in worth.items()},
    }
    return {"photos": photos, "mean": mean, "attributes": attributes}


def _mean(values: np.ndarray) -> float | None:
    """Return the mean over the measured attributes."""
    measured = values[np.isfinite(values)]
    return number(measured.mean()) if len(measured) else None


def table(section: dict[str, Any]) -> str:
    """Format for a terminal: one line per attribute, the mean last, for validation and test."""
    splits = [split for split in (CHOSEN_ON, "test") if split in section]
    chosen = section["thresholds"]["attributes"]
    width = max(len("mean over attributes"), *(len(name) for name in chosen))
    heads = "".join(f"  | {split:10}: ECE before  after  goal   answered" for split in splits)
    lines = [f"{'attribute':{width}}  temp.  goal             threshold{heads}"]
    for name, a in chosen.items():
        quantity = a["goal"].partition(":")[0]
        cells = []
        for split in splits:
            measured = section[split]["attributes"][name]
            eces = (measured["before"]["ece"], measured["after"]["ece"])
            cells.append(_cells(*eces, measured[quantity], measured["coverage"]))
        notes = _notes(a, section[CHOSEN_ON]["attributes"][name])
        lines.append(
            f"{name:{width}}  {a['temperature']:5.3f}  {a['goal']:15}  {a['threshold']:9.3f}"
            f"{''.join(cells)}{notes}"
        )
    means = [section[split]["mean"] for split in splits]
    cells = [_cells(m["ece_before"], m["ece_after"], None, m["coverage"]) for m in means]
    return "\n".join([*lines, f"{'mean over attributes':{width}}{'':35}{''.join(cells)}"])


def _cells(*values: float | None) -> str:
    before, after, reached, coverage = ("" if v is None else f"{v:.3f}" for v in values)
    return f"  | {before:>22}  {after:>5}  {reached:>5}  {coverage:>8}"


def _notes(chosen: dict[str, Any], measured: dict[str, Any]) -> str:
    goal = choosing.Goal.parse(chosen["goal"])
    notes = []
    if measured["present"] < goal.min_present:
        notes.append(f"too few labels: {measured['present']}, {goal.min_present} are needed")
    if chosen["threshold"] == choosing.NO_ANSWERS:
        notes.append("goal not reached: no answers")
    if chosen["values"]:
        silent = sum(v == choosing.NO_ANSWERS for v in chosen["values"].values())
        own = f"{len(chosen['values'])} values have their own threshold"
        notes.append(own + (f", {silent} of them give no answers" if silent else ""))
    return "".join(f"  ({note})" for note in notes)
