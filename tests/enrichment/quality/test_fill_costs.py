"""Test quality/fill_costs.py: fills and expected wrong fills equal counts by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from attr_extractor import files, made_from
from attr_extractor.enrichment.cells import MadeBy
from attr_extractor.enrichment.quality import fill_costs
from attr_extractor.errors import InputError
from attr_extractor.evaluation.curves import CUT_OFFS, RiskCoverage
from attr_extractor.model.thresholds import Thresholds


def write_run(folder, schema, confidence: np.ndarray, right: np.ndarray):
    """Write what evaluate.py --split=validation writes for scores float32 and bool [B, T]."""
    folder.mkdir(exist_ok=True)
    risk = RiskCoverage(len(schema.names))
    risk.add(confidence, np.ones(right.shape, bool), right)
    chosen = Thresholds.of_schema(schema)
    curves = dict(zip(schema.names, risk.curves()))
    details = {
        "cut_offs": [round(float(c), 3) for c in CUT_OFFS],
        "attributes": {name: {"risk_coverage": curve} for name, curve in curves.items()},
    }
    weights = {"layer/0": np.ones(3, np.float32)}
    measured = {
        "photos": len(right),
        "weights_digest": made_from.weights_digest(weights),
        "thresholds": chosen.digest,
        "details": "metrics_validation_details.json",
        "attributes": {name: {"applicable": len(right)} for name in schema.names},
    }
    files.write_arrays(folder / "weights.npz", weights)
    files.write_json(folder / "thresholds.json", chosen.model_dump())
    files.write_json(folder / "metrics.json", {"validation": measured})
    files.write_json(folder / measured["details"], details)
    return folder


def drawn(schema, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    confidence = generator.random((count, len(schema.names))).astype(np.float32)
    return confidence, generator.random(confidence.shape) < confidence


def test_costs_equal_counts_by_hand(schema, tmp_path):
    confidence, right = drawn(schema)
    confidence[:, 2] *= 0.6  # validation has no score above 0.6 for the third attribute
    validation = fill_costs.read_validation(
        write_run(tmp_path / "run", schema, confidence, right), schema
    )
    generator = np.random.default_rng(1)
    empty = [generator.random(n).astype(np.float32) for n in (50, 80, 20, 0)]
    scores = np.array([np.bincount(np.searchsorted(CUT_OFFS, e), minlength=27) for e in empty])
    costs = fill_costs.threshold_costs(schema, scores, np.array([60, 80, 20, 0]), validation)
    assert [cost.threshold for cost in costs] == list(fill_costs.SHOWN)
    for cost in costs:
        cut = np.float32(cost.threshold)
        filled = np.array([(e > cut).sum() for e in empty])
        above = confidence > cut
        with np.errstate(invalid="ignore"):
            wrong = (above & ~right).sum(axis=0) / above.sum(axis=0)
        measured = np.isfinite(wrong) & (filled > 0)
        assert cost.filled == filled.sum()
        assert cost.share == pytest.approx(filled.sum() / 160, abs=1e-5)
        weights = filled[measured]
        assert cost.wrong == pytest.approx(np.average(wrong[measured], weights=weights), abs=1e-4)
        assert cost.not_measured == (filled[2] if cost.threshold >= 0.6 else 0)
        for t, name in enumerate(schema.names):
            a = cost.attributes[name]
            assert a.filled == filled[t] and a.validation_photos == above[:, t].sum()
            if not above[:, t].any():
                assert a.wrong is None and a.interval is None
                continue
            assert a.wrong == pytest.approx(wrong[t], abs=1e-5)
            ends = stats.binomtest(int((above & ~right)[:, t].sum()), int(above[:, t].sum()))
            assert a.interval == pytest.approx(ends.proportion_ci(0.95, "wilson"), abs=1e-4)
        low, high = cost.interval
        assert low <= cost.wrong <= high


def test_runs_whose_scores_are_not_comparable_are_refused(schema, tmp_path):
    with pytest.raises(InputError, match="run directory is not a folder"):
        fill_costs.read_validation(tmp_path / "none", schema)
    run = write_run(tmp_path / "run", schema, *drawn(schema, 10))
    chosen = Thresholds.of_schema(schema)
    temperatures = dict.fromkeys(schema.names, 1.0)
    fields = {"model": "", "weights": "", "fingerprint": schema.fingerprint}
    fill_costs.read_validation(run, schema, MadeBy(**fields, temperatures=temperatures))
    content = chosen.model_dump()
    content["attributes"]["color"]["temperature"] = 1.5
    other = Thresholds(**content)
    with pytest.raises(InputError, match="temperatures differ from the exported model's"):
        fill_costs.read_validation(
            run, schema, MadeBy(**fields, temperatures={**temperatures, "color": 1.5})
        )
    files.write_json(run / "thresholds.json", other.model_dump())
    with pytest.raises(InputError, match="calibrated since .*evaluate .*--split=validation"):
        fill_costs.read_validation(run, schema)
    files.write_json(run / "thresholds.json", chosen.model_dump())
    files.write_arrays(run / "weights.npz", {"layer/0": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="trained since .*evaluate .*--split=validation"):
        fill_costs.read_validation(run, schema)
    metrics = json.loads((run / "metrics.json").read_text())
    files.write_json(run / "metrics.json", {"test": metrics["validation"]})
    with pytest.raises(InputError, match="not measured on validation yet: run .*evaluate"):
        fill_costs.read_validation(run, schema)
