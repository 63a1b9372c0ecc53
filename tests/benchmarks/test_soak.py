"""Claims about soak.py: it counts what it should, and a server that fails is found out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import soak
from tests.conftest import require_bad_input, run_tool


def test_wrong_answers_and_errors_count_as_failed():
    expected = {"neck": np.array([["v"], ["u"]]), "neck_score": np.array([[0.5], [0.25]], "f4")}
    right = {name: values[1:] for name, values in expected.items()}
    assert soak._compared(right, expected, slice(1, 2)) == "right"
    assert soak._compared(right, expected, slice(0, 1)) == "neck differs"
    seen = soak._Seen()
    seen.ask("one", lambda: "right")
    seen.ask("one", lambda: str(1 // 0))
    assert dict(seen.outcomes) == {
        "right": 1,
        repr(ZeroDivisionError("integer division or modulo by zero")): 1,
    }
    assert len(seen.seconds["one"]) == 2


def test_the_slope_of_memory_leaves_the_beginning_out():
    growing = [float(i) for i in range(180)]
    assert "+60.0 MiB a minute" in soak._slope([0.0] * 90 + growing, 10)
    assert "60 MiB, then 60;" in soak._slope(growing[:60] + [60.0] * 120, 10)


def test_the_slope_of_memory_is_that_between_the_loads():
    # each load takes longer than the one before
    loads = [900.0 if i % 60 < 10 + i // 20 else 500 + i // 60 for i in range(615)]
    told = soak._slope(loads, 60)
    assert "slope +1.0 MiB" in told and "at most 900\n" in told
    assert told.endswith("MiB: 500 501 502 503 504 505 506 507 508 509")


def test_photos_and_a_model_are_needed(exported, tmp_path):
    none = run_tool("soak", f"--model={tmp_path}", f"--photos={exported.path / 'images'}")
    require_bad_input(none, f"{tmp_path}: contains no version folders")
    none = run_tool("soak", f"--model={exported.model}", f"--photos={tmp_path}")
    require_bad_input(none, "contains 0 JPEG files; 64 are required")


@pytest.mark.slow
def test_a_minute_of_mixed_load_with_swaps_fails_no_good_request(exported):
    text, failed = soak.report(
        exported.model, exported.path / "images", minutes=0.5, swap_seconds=5, clients=2
    )
    assert failed == 0
    assert "good requests that failed: 0" in text and "'refused'" in text
