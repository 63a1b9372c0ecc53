"""Claims about `training/hardware.py`: who is told that bfloat16 is emulated."""

from __future__ import annotations

import pytest

from attr_extractor.training import hardware


@pytest.mark.parametrize(
    ("precision", "flags", "told"),
    [
        ("mixed_bfloat16", "fpu avx2 avx512f", True),
        ("mixed_bfloat16", "fpu avx512f avx512_bf16", False),
        ("mixed_bfloat16", "fpu amx_bf16", False),
        ("mixed_bfloat16", "", False),  # no Linux: nothing is known
        ("float32", "fpu avx2", False),
    ],
)
def test_a_cpu_without_bfloat16_is_told_in_one_line(precision, flags, told, monkeypatch):
    monkeypatch.setattr(hardware, "_told", lambda key: flags)
    line = hardware.warning(precision)
    assert (line is not None and "train.precision=float32" in line) == told
