"""Comparison of two runs on the same photos, for the paper's figure 5 and for gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor.errors import InputError
from attr_extractor.evaluation import bootstrap, totals
from attr_extractor.evaluation.totals import Totals, number
from attr_extractor.schema import Schema, require_same
from attr_extractor.training.run_dir import RunDir

COMPARED = ("score", "accuracy")


def read(path: str | Path, run: RunDir, on_own_records: bool) -> RunDir:
    """Read the second run of a comparison.

    Args:
      path: the second run's directory.
      run: the first run.
      on_own_records: whether the split belongs to the first run's own records.

    Raises:
      InputError: if `path` is not a run directory, its schema differs, or `on_own_records` is
        true and the second run was trained on other records.
    """
    other = RunDir.read(path)
    require_same(other.schema.fingerprint, run.schema, f"{path}: the run to compare with")
    if on_own_records and other.origin.digest != run.origin.digest:
        raise InputError(
            f"{path}: trained on other records ({other.records}) than {run.path}, so photos of "
            "this split may have been in its training split; pass --records with records that "
            "neither run was trained on"
        )
    return other


def differences(schema: Schema, ours: Totals, theirs: Totals) -> dict[str, Any]:
    """Return the second run's figures and the differences, first run minus second run.

    The intervals of differences are paired.

    Returns:
      `mean` and `attributes`; each has `score`, `interval` and `accuracy` of the second run, then
      `difference`, `difference_interval`, `accuracy_difference`, `accuracy_difference_interval`.
    """
    once = [totals.figures(t.once) for t in (ours, theirs)]
    drawn = [totals.figures(t.resampled) for t in (ours, theirs)]
    seen = np.isfinite(once[0]["score"])

    def block(which: np.ndarray) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in COMPARED:
            prefix = "" if key == "score" else f"{key}_"
            (a, b), (a_drawn, b_drawn) = (
                [figures[key][..., which] for figures in pair] for pair in (once, drawn)
            )
            found[key] = number(np.mean(b)) if which.any() else None
            found[totals.interval_of(key)] = bootstrap.interval_of_mean(b_drawn)
            found[f"{prefix}difference"] = number(np.mean(a - b)) if which.any() else None
            found[f"{prefix}difference_interval"] = bootstrap.interval_of_mean(a_drawn - b_drawn)
        return found

    return {
        "mean": block(seen),
        "attributes": {
            name: block(seen & (np.arange(len(seen)) == t)) for t, name in enumerate(schema.names)
        },
    }
