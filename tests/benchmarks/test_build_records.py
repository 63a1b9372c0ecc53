"""Claims about `benchmarks/build_records.py`: it measures what it says, on work really done."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from attr_extractor import labels
from attr_extractor.schema import Schema
from benchmarks import build_records


def test_the_made_up_table_has_known_values_gaps_and_unknown_ones(schema: Schema):
    rows = list(build_records._rows(schema, 3000))
    assert len({row[0] for row in rows}) == 3000
    columns = dict(zip(["product_id", "image", *schema.names], zip(*rows)))
    issues = labels.Encoder(schema).encode(columns, len(rows)).issues
    assert 0 < len(issues) < 40 and {issue.kind for _, issue in issues} == {"unknown value"}
    filled = sum(cell != "" for cell in columns["color"])
    assert 0.5 < filled / 3000 < 0.7


def test_a_table_is_measured_in_rows_and_memory(schema: Schema, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build_records, "SHARED_PHOTOS", 5)
    found = build_records.measure_table(schema, 200)
    assert found["rows"] == 200 and found["rows/s"] == pytest.approx(200 / found["seconds"])
    status = Path("/proc/self/status")
    if status.exists():  # the kernel's own count of this process' peak
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        assert found["peak memory, GiB"] == pytest.approx(int(peak.split()[1]) / 2**20, rel=0.1)


@pytest.mark.slow
def test_photos_are_measured_beside_pillow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build_records, "DISTINCT_PHOTOS", 8)
    found = build_records.measure_photos(16, rounds=1, num_workers=1)
    pillow, builder, ratio = found.values()
    assert ratio == pytest.approx(builder / pillow, rel=1e-6)


def test_drawn_photos_have_their_size(tmp_path: Path):
    (path,) = build_records._draw(tmp_path / "images", 1)
    with Image.open(path) as image:
        assert image.size == (832, 1088) and image.format == "JPEG"
    assert 100_000 < path.stat().st_size < 400_000
