"""Temperatures and thresholds of a run, chosen on its validation split: thresholds.json.

The logits of both splits come from `predictions`. The results are written to metrics.json, section
`calibration`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor import files, ownership
from attr_extractor.evaluation import calibration, model_card, predictions
from attr_extractor.evaluation import thresholds as choosing
from attr_extractor.evaluation.totals import number
from attr_extractor.labels import MISSING
from attr_extractor.model import metrics
from attr_extractor.model.answers import Answers
from attr_extractor.model.per_attribute import sum_values
from attr_extractor.model.scoring import Scoring
from attr_extractor.model.thresholds import OfAttribute, Thresholds
from attr_extractor.training.run_dir import RunDir

CHOSEN_ON = "validation"


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
    run = RunDir.read(run_dir)
    with ownership.folder(run.path, "the run directory"):
        return _calibrate(run, goals, per_value)


def _calibrate(run: RunDir, goals: Sequence[str], per_value: bool) -> dict[str, Any]:
    schema, manifest = run.schema, run.manifest()
    wanted = choosing.parse_goals(goals, schema, per_value)
    manifest.split(CHOSEN_ON)  # fails before anything is computed
    uncalibrated, weights = Thresholds.of_schema(schema), run.weights_digest
    plain = run.scoring(uncalibrated)
    found = {
        split: predictions.predict(run, split)
        for split in (CHOSEN_ON, "test")
        if manifest.splits[split].photos
    }
    fitted, photos = calibration.fit(plain, found[CHOSEN_ON].batches(), choosing.MIN_PRESENT)
    temperatures = dict(zip(schema.names, np.round(fitted, 5).tolist()))
    scaled = plain.with_temperatures(
        np.repeat(np.array(list(temperatures.values()), np.float32), schema.sizes)
    )
    counts = _count(scaled, found[CHOSEN_ON].batches(), run.answers(uncalibrated), per_value)
    attributes = {}
    for name, goal in wanted.items():
        threshold = counts.of_attribute(name, goal)
        if threshold is None:  # too few labels
            threshold = choosing.NO_ANSWERS if goal.floor else schema[name].threshold
        attributes[name] = OfAttribute(
            temperature=temperatures[name],
            threshold=threshold,
            goal=str(goal),
            values=counts.of_values(name, goal) if per_value else {},
        )
    chosen = Thresholds(
        fingerprint=schema.fingerprint,
        split=CHOSEN_ON,
        photos=photos,
        weights=weights,
        attributes=attributes,
    )
    answers = run.answers(chosen)
    measured = {
        split: measure(plain, scaled, of_split.batches(), answers)
        for split, of_split in found.items()
    }
    files.write_json(run.path / "thresholds.json", chosen.model_dump())
    section = {"weights_digest": weights, "thresholds": chosen.model_dump(), **measured}
    run.update_metrics("calibration", section)
    model_card.write_card(run)
    return section


def _count(
    scoring: Scoring, batches: Iterable[dict[str, tf.Tensor]], answers: Answers, per_value: bool
) -> choosing.Counts:
    counts = choosing.Counts(scoring.schema, per_value)
    for batch in batches:
        scores = scoring.scores_of(batch["logits"])
        best = answers.best(scores)
        counts.add(scores.numpy(), batch["labels"].numpy(), best.numpy())
    return counts


def measure(
    before: Scoring, after: Scoring, batches: Iterable[dict[str, tf.Tensor]], answers: Answers
) -> dict[str, Any]:
    """Measure calibration errors before and after, and the answers; missing labels are ignored.

    Returns:
      `photos`; `mean` over attributes; `attributes`: per attribute `before` and `after`, each with
      `ece` of the best value's score, `ece_all_values` of all scores, and the best value's
      `reliability` diagram; `precision` of the answered values, `recall`, `f1`, `equation_2` over
      all samples with a known label, and `coverage`, the share of those samples with an answer.
    """
    schema = after.schema
    rules = {"before": before, "after": after}
    best = {key: calibration.Reliability(schema) for key in rules}
    every = {key: calibration.Reliability(schema) for key in rules}

    @tf.function(reduce_retracing=True)
    def compute(logits: tf.Tensor, labels: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        scores = {key: rule.scores_of(logits) for key, rule in rules.items()}
        marks = {key: answers.best(score) for key, score in scores.items()}
        chosen = answers.chosen(scores["after"]) & (labels != MISSING)  # [B, V]
        found = metrics.agreement(labels, chosen, schema)
        answered = sum_values(chosen, schema)  # [B, T]
        known = tf.cast(found["known"], tf.float32)
        sums = {
            "known": known,
            "equation_2": found["score"] * known,
            "coverage": tf.cast(answered > 0, tf.float32),
            "answered": answered,
            "right": sum_values(chosen & (labels > 0), schema),
            "present": sum_values(labels > 0, schema),
        }
        return {key: (scores[key], marks[key]) for key in rules}, {
            key: tf.reduce_sum(value, axis=0) for key, value in sums.items()
        }

    photos = 0
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(schema.names)))
    for batch in batches:
        scored, sums = compute(batch["logits"], batch["labels"])
        labels = batch["labels"].numpy()
        for key, (scores, marked) in scored.items():
            best[key].add(scores.numpy(), labels, marked.numpy())
            every[key].add(scores.numpy(), labels, np.ones(labels.shape, bool))
        for key, value in sums.items():
            totals[key] += value.numpy()
        photos += len(labels)
    errors = {key: (best[key].expected_error(), every[key].expected_error()) for key in rules}
    with np.errstate(invalid="ignore", divide="ignore"):
        worth = {
            "precision": totals["right"] / totals["answered"],
            "recall": totals["right"] / totals["present"],
            "f1": 2 * totals["right"] / (totals["answered"] + totals["present"]),
            "equation_2": totals["equation_2"] / totals["known"],
            "coverage": totals["coverage"] / totals["known"],
        }
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
            "known": int(totals["known"][t]),
            "present": int(totals["present"][t]),
        }
        for t, name in enumerate(schema.names)
    }
    mean = {
        **{f"ece_{key}": _mean(errors[key][0]) for key in rules},
        **{key: _mean(value) for key, value in worth.items()},
    }
    return {"photos": photos, "mean": mean, "attributes": attributes}


def table(section: dict[str, Any]) -> str:
    """Format for a terminal: one line per attribute, the mean last, for validation and test."""
    splits = [split for split in (CHOSEN_ON, "test") if split in section]
    chosen = section["thresholds"]["attributes"]
    width = max(len("mean over attributes"), *(len(name) for name in chosen))
    heads = "".join(f"  | {split:10}: ECE before  after  goal   answered" for split in splits)
    lines = [f"{'attribute':{width}}  temp.  goal             threshold{heads}"]
    for name, a in chosen.items():
        quantity = a["goal"].partition(":")[0]
        parts = []
        for split in splits:
            found = section[split]["attributes"][name]
            eces = (found["before"]["ece"], found["after"]["ece"])
            parts.append(_figures(*eces, found[quantity], found["coverage"]))
        notes = _notes(a, section[CHOSEN_ON]["attributes"][name])
        lines.append(
            f"{name:{width}}  {a['temperature']:5.3f}  {a['goal']:15}  {a['threshold']:9.3f}"
            f"{''.join(parts)}{notes}"
        )
    means = [section[split]["mean"] for split in splits]
    parts = [_figures(m["ece_before"], m["ece_after"], None, m["coverage"]) for m in means]
    return "\n".join([*lines, f"{'mean over attributes':{width}}{'':35}{''.join(parts)}"])


def _figures(*values: float | None) -> str:
    before, after, reached, coverage = ("" if v is None else f"{v:.3f}" for v in values)
    return f"  | {before:>22}  {after:>5}  {reached:>5}  {coverage:>8}"


def _notes(chosen: dict[str, Any], found: dict[str, Any]) -> str:
    goal = choosing.Goal.parse(chosen["goal"])
    notes = []
    if found["present"] < goal.min_present:
        notes.append(f"too few labels: {found['present']}, {goal.min_present} are needed")
    if chosen["threshold"] == choosing.NO_ANSWERS:
        notes.append("goal not reached: no answers")
    if chosen["values"]:
        silent = sum(v == choosing.NO_ANSWERS for v in chosen["values"].values())
        own = f"{len(chosen['values'])} values have their own threshold"
        notes.append(own + (f", {silent} of them give no answers" if silent else ""))
    return "".join(f"  ({note})" for note in notes)


def _mean(values: np.ndarray) -> float | None:
    """Return the mean over the measured attributes."""
    seen = values[np.isfinite(values)]
    return number(seen.mean()) if len(seen) else None
