"""Costs of a threshold: how many empty cells it fills, and the expected share of wrong fills.

The number of fills is counted in the catalogue. The share of wrong fills is the error rate of the
run's validation split for the same attribute above the same score. The only assumption is that
empty cells are no harder than cells that sellers filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor import files, made_from, yaml_files
from attr_extractor.enrichment.cells import MadeBy
from attr_extractor.enrichment.quality.rates import wilson
from attr_extractor.errors import InputError, require_folder
from attr_extractor.evaluation.curves import CUT_OFFS
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.schema import Schema, require_same
from attr_extractor.training import run_files

SPLIT = "validation"
SHOWN = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of CUT_OFFS


@dataclass(frozen=True)
class Validation:
    """Counts of the run's validation split per attribute, above each of CUT_OFFS."""

    photos: int
    answered: np.ndarray  # float64 [T, K], photos whose best value scores above the cut-off
    wrong: np.ndarray  # float64 [T, K], answered photos whose best value is wrong


def read(run_dir: str | Path, schema: Schema, made_by: MadeBy | None = None) -> Validation:
    """Read the metrics that evaluate.py --split=validation wrote to a run.

    Args:
      made_by: the model of the cells; its temperatures must equal the run's.

    Raises:
      InputError: if it is not a run of this schema, if it was not measured on validation after it
        was trained and calibrated, or if its temperatures differ from the model's.
    """
    folder = require_folder(run_dir, "the run directory")
    chosen = Thresholds.read(folder / "thresholds.json", schema)
    metrics = folder / run_files.FILE
    section = run_files.read_metrics(folder).get(SPLIT)
    todo = f"python tools/evaluate.py --run_dir={folder} --split={SPLIT}"
    if section is None:
        raise InputError(f"{folder}: not measured on {SPLIT} yet: run {todo}")
    measured = yaml_files.validate(run_files.MeasuredForCosts, section, f"{metrics}: {SPLIT}")
    run_files.require_attributes(measured.attributes, schema, f"{metrics}: {SPLIT}")
    weights = made_from.run_weights_digest(folder)
    chosen.require_weights(weights, folder)
    if section.get("weights_digest") != weights:  # older versions did not record it
        raise InputError(f"{folder}: trained since it was measured on {SPLIT}: run {todo}")
    if measured.thresholds != chosen.digest:
        raise InputError(f"{folder}: calibrated since it was measured on {SPLIT}: run {todo}")
    if made_by is not None:
        require_same(made_by.fingerprint, schema, str(folder))
        if made_by.temperatures != {n: a.temperature for n, a in chosen.attributes.items()}:
            raise InputError(
                f"{folder}: its temperatures differ from the exported model's, so the scores are "
                "not comparable: pass the run that the model was exported from"
            )
    path = folder / measured.details
    content = files.read_json(path, "the details of the run's metrics")
    details = yaml_files.validate(run_files.Risks, content, str(path))
    run_files.require_attributes(details.attributes, schema, str(path))
    if details.cut_offs != [round(float(cut_off), 3) for cut_off in CUT_OFFS]:
        raise InputError(f"{folder}: measured by another version of this package: run {todo}")
    curves = [details.attributes[name].risk_coverage for name in schema.names]
    known = np.array([measured.attributes[name].applicable for name in schema.names])
    coverage, accuracy = (
        np.array([[x or 0.0 for x in getattr(curve, key)] for curve in curves], np.float64)
        for key in ("coverage", "accuracy")
    )
    answered = np.round(coverage * known[:, np.newaxis])
    return Validation(measured.photos, answered, np.round(answered * (1 - accuracy)))


def costs(schema: Schema, scores: np.ndarray, empty: np.ndarray, found: Validation) -> list[dict]:
    """Return the number of fills and the expected share of wrong fills per threshold of SHOWN.

    Args:
      scores: int64 [T, K + 1], empty cells by how many of CUT_OFFS their best score is above.
      empty: int64 [T], all empty cells, including those without a readable photo.

    Returns:
      One dict per threshold: `threshold`; `filled`, the number of filled cells; `share`, their
      share of the empty cells; `wrong`, the expected share of wrong fills, over attributes that
      have a validation photo above the threshold; `interval`, its 95 % interval, as wide as if
      the errors of attributes were fully correlated; `not_measured`, the number of fills of the
      other attributes; `attributes`, the same per attribute. Unknown figures are None.
    """
    above = scores[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # [T, K]
    rows = []
    for threshold in SHOWN:
        k = int(np.flatnonzero(np.isclose(CUT_OFFS, threshold))[0])
        attributes = {
            name: _cost(above[t, k], empty[t], found.wrong[t, k], found.answered[t, k])
            for t, name in enumerate(schema.names)
        }
        rows.append({"threshold": threshold, **_together(attributes, int(empty.sum()))})
        rows[-1]["attributes"] = attributes
    return rows


def _cost(filled: int, empty: int, wrong: float, answered: float) -> dict[str, Any]:
    return {
        "filled": int(filled),
        "share": _ratio(filled, empty),
        "wrong": _ratio(wrong, answered),
        "interval": [round(end, 5) for end in wilson(wrong, answered)] if answered else None,
        "validation_photos": int(answered),
    }


def _together(attributes: dict[str, dict[str, Any]], empty: int) -> dict[str, Any]:
    filled = sum(a["filled"] for a in attributes.values())
    known = [a for a in attributes.values() if a["wrong"] is not None and a["filled"]]
    measured = sum(a["filled"] for a in known)
    ends = [_ratio(sum(a["filled"] * a["interval"][i] for a in known), measured) for i in (0, 1)]
    return {
        "filled": filled,
        "share": _ratio(filled, empty),
        "wrong": _ratio(sum(a["filled"] * a["wrong"] for a in known), measured),
        "interval": ends if measured else None,
        "not_measured": filled - measured,
    }


def _ratio(part: float, of: float) -> float | None:
    return round(float(part) / float(of), 5) if of else None
