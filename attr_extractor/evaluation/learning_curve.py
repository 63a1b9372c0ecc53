"""Learning curve: the gain from more labels, from training on nested parts of the products.

The error of an attribute, 1 minus its headline score, is modelled as a power law of its number of
labels (Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017): a straight line
in log-log coordinates. Its slope gets the wider of two intervals: Student's t from the scatter of
the points, which can be too narrow by chance with four points, and the sampling error of the scores
from the number of photos, as if each point were measured on separate photos. An irreducible error
is not fitted, because four points would not show it; therefore no gain is predicted beyond twice
the labels. A part also trains for fewer steps, so the gain includes that of longer training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from attr_extractor import files, storage, working_copy, yaml_files
from attr_extractor.errors import InputError, require_file
from attr_extractor.evaluation import predictions, scores
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.scores import Contender
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import subset
from attr_extractor.training import features, fit, run_files
from attr_extractor.training.run_dir import RunDir

FILE = "learning_curve.json"
CONFIDENCE = 0.95
THOUSAND = 1000  # labels


def measure(
    run_dir: str | Path, fractions: Sequence[float], output_dir: str | Path | None = None
) -> dict[str, Any]:
    """Train on parts and write learning_curve.json into the run; the report shows it.

    An interrupted call is resumed by the next one: parts, runs and checkpoints are kept.

    Args:
      fractions: shares of the training products; the run itself is the point at 1.
      output_dir: for parts and their runs, by default `learning_curve` in the run directory.

    Returns:
      `points`: `fraction`, `photos` and `run` of each, smallest first; `mean` and `attributes`:
      `labels` and `score` of each point and the `fit` (see `power_law`), None if it is not defined.
      The labels of the mean are numbers of photos.

    Raises:
      InputError: if there is no trained run, the fractions are invalid, or a part is too small for
        a batch.
    """
    run = RunDir.read(run_dir)  # fails before anything is locked
    run.manifest().split("test")
    require_file(run.path / "weights.npz", "the run's weights (is it trained?)")
    fractions = sorted(set(fractions))
    if len(fractions) < 2 or not 0 < fractions[0] <= fractions[-1] < 1:
        raise InputError("--fractions: two or more values between 0 and 1 are required")
    place = output_dir or storage.join(os.fspath(run_dir), "learning_curve")
    with (
        RunDir.owned(run_dir) as run,
        working_copy.owned(
            output_dir or run.path / "learning_curve", "the folder of the parts"
        ) as folder,
    ):
        runs = []
        for fraction in fractions:
            records = folder / f"records_{fraction:g}"
            part = subset.write_subset(run.records, fraction, records)
            if run.config.train.features != "none":
                features.copy_to_subset(run.records, run.manifest(), records, part)
            runs.append(fit.train(run.config, records, folder / f"run_{fraction:g}"))
        measured = [_measure(part, run) for part in [*runs, run]]
        places = [storage.join(place, f"run_{fraction:g}") for fraction in fractions]
        places.append(os.fspath(run_dir))
        curve = {
            "weights_digest": run.weights_digest,
            "points": [
                {"fraction": fraction, "photos": of_part.mean.labels, "run": where}
                for fraction, of_part, where in zip([*fractions, 1.0], measured, places)
            ],
            "mean": _curve([of_part.mean for of_part in measured]),
            "attributes": {
                name: _curve([of_part.attributes[name] for of_part in measured])
                for name in run.schema.names
            },
        }
        files.write_json(run.path / FILE, curve)
        return curve


def read(run: RunDir) -> dict[str, Any] | None:
    """Return learning_curve.json of a run; None if it is missing or belongs to other weights.

    Raises:
      InputError: if the file is not a valid learning curve.
    """
    path = run.path / FILE
    if not path.is_file():
        return None
    content = files.read_json(path, "the run's learning curve")
    curve = yaml_files.validate(run_files.Curve, content, str(path))
    # a curve written by an older version has no digest
    return dict(content) if curve.weights_digest in (None, run.weights_digest) else None


class Point(NamedTuple):
    """The score of a part of the training products, for an attribute or the mean."""

    labels: int  # in the training part; for the mean, its photos
    score: float | None
    test_photos: int  # that the score was measured on


class MeasuredPart(NamedTuple):
    """The points of one part."""

    mean: Point
    attributes: dict[str, Point]


def _measure(part: RunDir, run: RunDir) -> MeasuredPart:
    """Measure `part` on the test split of `run`, with the schema's thresholds."""
    plain = Thresholds.of_schema(run.schema)
    contender = Contender(part.scoring(plain).scores_of, part.answers(plain))
    usual = MostFrequent.of(run.schema, part.origin.most_frequent)
    predicted = predictions.predict(part, "test", None if part is run else run.records)
    measured, _ = scores.measure(contender, predicted.blocks(), usual)
    train = part.manifest().splits["train"]
    return MeasuredPart(
        Point(train.photos, measured["mean"]["score"], measured["photos"]),
        {
            name: Point(train.labels[name].answered, a["score"], a["applicable"])
            for name, a in measured["attributes"].items()
        },
    )


def _curve(points: Sequence[Point]) -> dict[str, Any]:
    """Build a curve from labels, score and number of measured photos of each point."""
    labels, score, photos = zip(*points)
    return {"labels": list(labels), "score": list(score), "fit": power_law(labels, score, photos)}


def power_law(
    labels: Sequence[int], score: Sequence[float | None], photos: Sequence[int]
) -> dict[str, Any] | None:
    """Fit error = constant x labels ** -exponent.

    Args:
      labels: number of labels of each training set, the largest last.
      score: score of each training set.
      photos: number of photos that each score was measured on; an error is at least 0.5 / photos.

    Returns:
      `exponent` with its `interval`, the fitted `error` at the last point, and `gains` from `twice`
      the labels and from a `thousand` more. A gain has the number of added `labels` and the `gain`
      in score with its `interval`; it is None beyond twice the labels.
      None if there are fewer than three different numbers of labels, or a point lacks labels or a
      score.
    """
    if None in score or 0 in labels or len(set(labels)) < 3:
        return None
    errors = np.maximum(1 - np.array(score, np.float64), 0.5 / np.array(photos))
    x, y = np.log(labels), np.log(errors)
    x_around = x - x.mean()
    slope = float((x_around * y).sum() / (x_around**2).sum())
    residuals = y - y.mean() - slope * x_around
    scatter = (residuals**2).sum() / (len(x) - 2) / (x_around**2).sum()
    # variance of the log error; a score in 0 .. 1 varies at most as much as one that is 0 or 1
    of_points = (1 - errors) / (errors * np.array(photos))
    sampling = (x_around**2 * of_points).sum() / (x_around**2).sum() ** 2
    upper = (1 + CONFIDENCE) / 2
    t, normal = stats.t.ppf(upper, len(x) - 2), stats.norm.ppf(upper)
    wide = float(max(t * np.sqrt(scatter), normal * np.sqrt(sampling)))
    error = float(np.exp(y.mean() + slope * x_around[-1]))

    def gain(more: int, exponent: float) -> float:
        gained = error * (1 - (1 + more / labels[-1]) ** -exponent)
        return round(max(gained, error - 1), 5)  # a score is at least 0

    def gains(more: int) -> dict[str, Any] | None:
        if more > labels[-1]:
            return None
        low, high = (gain(more, -slope + end) for end in (-wide, wide))
        return {"labels": more, "gain": gain(more, -slope), "interval": [low, high]}

    return {
        "exponent": round(-slope, 5),
        "interval": [round(-slope - wide, 5), round(-slope + wide, 5)],
        "error": round(error, 5),
        "gains": {"twice": gains(int(labels[-1])), "thousand": gains(THOUSAND)},
    }


def table(curve: dict[str, Any]) -> str:
    """Format for a terminal: one line per attribute, the largest gain first."""
    fitted = {n: a for n, a in curve["attributes"].items() if a["fit"] is not None}
    names = sorted(fitted, key=lambda name: -fitted[name]["fit"]["gains"]["twice"]["gain"])
    width = max(map(len, [*curve["attributes"], "mean over attributes"]))
    lines = [f"{'attribute':{width}}  labels   score  gain from twice as many labels"]
    rows = [(name, fitted[name]) for name in names]
    if curve["mean"]["fit"] is not None:
        rows.append(("mean over attributes", curve["mean"]))
    for name, a in rows:
        twice = a["fit"]["gains"]["twice"]
        low, high = (100 * end for end in twice["interval"])
        sure = "" if low > 0 or high < 0 else ", not sure"
        lines.append(
            f"{name:{width}}  {a['labels'][-1]:7,}  {a['score'][-1]:.3f}  "
            f"{100 * twice['gain']:+5.1f} points ({low:+.1f} to {high:+.1f}{sure})"
        )
    return "\n".join(lines)
