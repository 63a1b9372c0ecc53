"""Costs of a threshold: how many empty cells it fills, and the expected share of wrong fills.

The number of fills is counted in the catalogue. The share of wrong fills is the error rate of the
run's validation split for the same attribute above the same score. The only assumption is that
empty cells are no harder than cells that sellers filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

import numpy as np

from attr_extractor import files, made_from, working_copy, yaml_files
from attr_extractor.enrichment.cells import MadeBy
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
    answered: np.ndarray  # int64 [T, K], photos whose best value scores above the cut-off
    wrong: np.ndarray  # int64 [T, K], answered photos whose best value is wrong


@dataclass(frozen=True)
class FillCost:
    """Effect of a threshold on one attribute; unknown figures are None."""

    filled: int  # filled cells
    share: Optional[float]  # of the empty cells
    wrong: Optional[float]  # expected share of wrong fills
    interval: Optional[Tuple[float, float]]  # its 95 % interval
    validation_photos: int  # above the threshold


@dataclass(frozen=True)
class ThresholdCost:
    """Effect of a threshold on all attributes; unknown figures are None."""

    threshold: float
    filled: int  # filled cells
    share: Optional[float]  # of the empty cells
    wrong: Optional[float]  # expected share of wrong fills, over measured attributes
    interval: Optional[Tuple[float, float]]  # 95 %; errors of attributes fully correlated
    not_measured: int  # fills of attributes without a validation photo above the threshold
    attributes: Dict[str, FillCost]


def read_validation(
    run_dir: str | Path, schema: Schema, made_by: MadeBy | None = None
) -> Validation:
    """Read the metrics that attr-extractor evaluate --split=validation wrote to a run.

    Args:
      made_by: the model of the cells; its temperatures must equal the run's.

    Raises:
      InputError: if it is not a run of this schema, if it was not measured on validation after it
        was trained and calibrated, or if its temperatures differ from the model's.
    """
    folder = require_folder(working_copy.folder(run_dir), "the run directory")
    chosen = Thresholds.read(folder / "thresholds.json", schema)
    metrics = folder / run_files.METRICS
    section = run_files.read_metrics(folder).get(SPLIT)
    todo = f"attr-extractor evaluate --run_dir={folder} --split={SPLIT}"
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
    answered = np.round(coverage * known[:, np.newaxis]).astype(np.int64)
    wrong = np.round(answered * (1 - accuracy)).astype(np.int64)
    return Validation(measured.photos, answered, wrong)


def threshold_costs(
    schema: Schema, scores: np.ndarray, empty: np.ndarray, validation: Validation
) -> list[ThresholdCost]:
    """Return the number of fills and the expected share of wrong fills per threshold of SHOWN.

    Args:
      scores: int64 [T, K + 1], empty cells by how many of CUT_OFFS their best score is above.
      empty: int64 [T], all empty cells, including those without a readable photo.
    """
    above = scores[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # [T, K]
    costs = []
    for threshold in SHOWN:
        k = int(np.flatnonzero(np.isclose(CUT_OFFS, threshold))[0])
        attributes = {
            name: _fill_cost(
                int(above[t, k]),
                int(empty[t]),
                int(validation.wrong[t, k]),
                int(validation.answered[t, k]),
            )
            for t, name in enumerate(schema.names)
        }
        costs.append(_threshold_cost(threshold, attributes, int(empty.sum())))
    return costs


def _fill_cost(filled: int, empty: int, wrong: int, answered: int) -> FillCost:
    from scipy import stats  # slow to import

    interval = None
    if answered:
        ends = stats.binomtest(wrong, answered).proportion_ci(0.95, "wilson")
        interval = (round(float(ends.low), 5), round(float(ends.high), 5))
    return FillCost(filled, _ratio(filled, empty), _ratio(wrong, answered), interval, answered)


def _threshold_cost(threshold: float, attributes: dict[str, FillCost], empty: int) -> ThresholdCost:
    filled = sum(cost.filled for cost in attributes.values())
    rates = [[c.filled, c.wrong, *c.interval] for c in attributes.values() if c.interval]
    measured = np.array(rates, np.float64).reshape(-1, 4)
    fills = int(measured[:, 0].sum())
    wrong, low, high = (_ratio(rate, fills) for rate in (measured[:, 0] @ measured[:, 1:]).tolist())
    return ThresholdCost(
        threshold=threshold,
        filled=filled,
        share=_ratio(filled, empty),
        wrong=wrong,
        interval=None if low is None or high is None else (low, high),
        not_measured=filled - fills,
        attributes=attributes,
    )


def _ratio(count: float, total: float) -> float | None:
    return round(count / total, 5) if total else None
