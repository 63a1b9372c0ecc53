"""What more labels would buy: one recipe trained on nested parts of the training products.

The error of an attribute, 1 minus its headline score, is taken to fall as a power of the number of
its labels (Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017): a straight
line in logarithms. Its slope has the wider of two intervals: Student's t from how the points
scatter around it, which four points may do little by luck, and what the number of photos leaves
open, as if each point had been measured on photos of its own. A floor that the error cannot pass is
not fitted, four points would not show it; so nothing is said beyond twice the labels. A part has
fewer steps as well, so what longer training alone would buy counts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from attr_extractor import files, ownership, yaml_files
from attr_extractor.errors import InputError, require_file
from attr_extractor.evaluation import scores
from attr_extractor.evaluation.most_frequent import MostFrequent
from attr_extractor.evaluation.scores import Contender
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import dataset, subset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit, run_files
from attr_extractor.training.run_dir import RunDir

FILE = "learning_curve.json"
CONFIDENCE = 0.95
THOUSAND = 1000  # labels


def measure(
    run_dir: str | Path, fractions: Sequence[float], output_dir: str | Path | None = None
) -> dict[str, Any]:
    """Trains on parts and writes learning_curve.json into the run, for the report to show.

    Interrupted, it goes on where it was: parts, runs and checkpoints are kept.

    Args:
      fractions: shares of the training products; the run itself is the whole.
      output_dir: for parts and their runs, by default `learning_curve` in the run directory.

    Returns:
      `points`: `fraction`, `photos` and `run` of each, smallest first; `mean` and `attributes`:
      `labels` and `score` of each point and the `fit` (see `power_law`), None where there is none.
      The labels of the mean are photos.

    Raises:
      InputError: no trained run there, fractions that cannot be, or a part too small for a batch.
    """
    run = RunDir.read(run_dir)
    manifest = run.manifest()
    manifest.split("test")
    require_file(run.path / "weights.npz", "the run's weights (is it trained?)")
    fractions = sorted(set(fractions))
    if len(fractions) < 2 or not 0 < fractions[0] <= fractions[-1] < 1:
        raise InputError("the fractions: two or more between 0 and 1 make a curve with the whole")
    folder = Path(output_dir or run.path / "learning_curve")
    with (
        ownership.folder(run.path, "the run directory"),
        ownership.folder(folder, "the folder of the parts"),
    ):
        runs = []
        for fraction in fractions:
            records = folder / f"records_{fraction:g}"
            subset.write(run.records, fraction, records)
            runs.append(fit.train(run.config, records, folder / f"run_{fraction:g}"))
        points = [_score(of_part, run, manifest) for of_part in [*runs, run]]
        found = {
            "weights_digest": run.weights_digest,
            "points": [
                {"fraction": fraction, "photos": point["photos"], "run": str(of_part.path)}
                for fraction, point, of_part in zip([*fractions, 1.0], points, [*runs, run])
            ],
            "mean": _curve([(p["photos"], p["mean"], p["test_photos"]) for p in points]),
            "attributes": {
                name: _curve([(p["labels"][name], *p["attributes"][name]) for p in points])
                for name in run.schema.names
            },
        }
        files.write_json(run.path / FILE, found)
        return found


def read(run: RunDir) -> dict[str, Any] | None:
    """learning_curve.json of a run; None where it has none, or one of other weights.

    Raises:
      InputError: it is no such curve.
    """
    path = run.path / FILE
    if not path.is_file():
        return None
    content = files.read_json(path, "the run's learning curve")
    curve = yaml_files.validate(run_files.Curve, content, str(path))
    # a curve that an older version wrote does not say
    return dict(content) if curve.weights_digest in (None, run.weights_digest) else None


def _score(part: RunDir, run: RunDir, manifest: Manifest) -> dict[str, Any]:
    """Scores of a run on the test split of the whole, with the schema's thresholds."""
    plain = Thresholds.of_schema(run.schema)
    contender = Contender(part.load_network(plain).flat_scores, part.answers(plain))
    usual = MostFrequent.of(run.schema, part.origin.most_frequent)
    batches = dataset.evaluation_batches(run.records, manifest, run.config.data, "test")
    with dataset.readable(run.records):
        measured, _ = scores.measure(contender, batches, usual)
    train = part.manifest().splits["train"]
    return {
        "photos": train.photos,
        "labels": {name: counts.answered for name, counts in train.labels.items()},
        "test_photos": measured["photos"],
        "mean": measured["mean"]["score"],
        "attributes": {n: (a["score"], a["applicable"]) for n, a in measured["attributes"].items()},
    }


def _curve(points: Sequence[tuple[int, float | None, int]]) -> dict[str, Any]:
    """From labels, score and measured photos of each point."""
    labels, found, photos = zip(*points)
    return {"labels": list(labels), "score": list(found), "fit": power_law(labels, found, photos)}


def power_law(
    labels: Sequence[int], found: Sequence[float | None], photos: Sequence[int]
) -> dict[str, Any] | None:
    """Fits error = constant x labels ** -exponent.

    Args:
      labels: of each training set, the largest last; as `found`, their scores.
      photos: that each score was measured on; an error below half a photo counts as that.

    Returns:
      `exponent` with its `interval`, the fitted `error` at the last point, and `gains`: of `twice`
      as many labels and of a `thousand` more the `labels` that they are and what they add to the
      score, `gain` with its `interval`; None beyond twice the labels.
      None without three different numbers of labels, or where nothing was measured.
    """
    if None in found or 0 in labels or len(set(labels)) < 3:
        return None
    errors = np.maximum(1 - np.array(found, np.float64), 0.5 / np.array(photos))
    x, y = np.log(labels), np.log(errors)
    x_around = x - x.mean()
    slope = float((x_around * y).sum() / (x_around**2).sum())
    residuals = y - y.mean() - slope * x_around
    scatter = (residuals**2).sum() / (len(x) - 2) / (x_around**2).sum()
    # of a logarithm; a score in 0 .. 1 varies no more than one that is 0 or 1
    of_points = (1 - errors) / (errors * np.array(photos))
    sampling = (x_around**2 * of_points).sum() / (x_around**2).sum() ** 2
    upper = (1 + CONFIDENCE) / 2
    t, normal = stats.t.ppf(upper, len(x) - 2), stats.norm.ppf(upper)
    wide = float(max(t * np.sqrt(scatter), normal * np.sqrt(sampling)))
    error = float(np.exp(y.mean() + slope * x_around[-1]))

    def gain(more: int, exponent: float) -> float:
        gained = error * (1 - (1 + more / labels[-1]) ** -exponent)
        return round(max(gained, error - 1), 5)  # no score is below 0

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
    """For a terminal: an attribute a line, where twice the labels buy most first."""
    fitted = {n: a for n, a in curve["attributes"].items() if a["fit"] is not None}
    names = sorted(fitted, key=lambda name: -fitted[name]["fit"]["gains"]["twice"]["gain"])
    width = max(map(len, [*curve["attributes"], "mean over attributes"]))
    lines = [f"{'attribute':{width}}  labels   score  twice as many labels would buy"]
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
