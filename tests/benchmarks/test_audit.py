"""Claims about `benchmarks/audit.py`: which labels are planted, and what counts as found."""

from __future__ import annotations

import numpy as np

from attr_extractor import labels
from attr_extractor.records.manifest import Manifest
from benchmarks import audit, audit_planted
from tests.records.by_hand import InProcess, read_split


def test_swapping_follows_frequency_and_leaves_the_rest(schema):
    rows = [
        {"category": "shirt", "neck_type": ("v-neck", "round neck")[i % 2], "closure": "button"}
        for i in range(200)
    ] + [{"category": "jeans", "closure": ("button", "zip")[i % 2]} for i in range(200)]
    codes = np.array([labels.encode(schema, row)[0] for row in rows])
    swapped = audit_planted.swap(schema, codes, 0.1, np.random.default_rng(0))
    changed = {name: (swapped != codes)[:, w].any(axis=1) for name, w in schema.slices.items()}
    assert {name: int(c.sum()) for name, c in changed.items()} == {
        "category": 0,  # neck_type and closure hang on it
        "neck_type": 20,
        "color": 0,  # several values
        "closure": 40,
    }
    assert not swapped[:, schema.slices["neck_type"]][:, 2].any()  # no cell has "no neck"
    for row in swapped[changed["closure"]]:
        assert (row[schema.slices["closure"]] == labels.PRESENT).sum() == 1
    jeans = swapped[200:, schema.slices["closure"]]
    assert not jeans[:, 2].any()  # no drawstring: the category does not allow it


def test_planted_records_hold_the_wrong_values_and_nothing_else_new(trained, tmp_path):
    spoiled = tmp_path / "spoiled"
    planted = audit_planted.plant(trained.records, spoiled, 0.1, InProcess())
    manifest = Manifest.read(spoiled)
    before = audit_planted.read_labels(trained.records, Manifest.read(trained.records))
    after = audit_planted.read_labels(spoiled, manifest)
    differ = {}
    for product, codes in before.items():
        old, new = (labels.decode(manifest.schema, c) for c in (codes, after[product]))
        differ.update({(product, name): old[name] for name in old if old[name] != new[name]})
    assert differ == {cell: [value] for cell, value in planted.items()} and len(differ) > 10
    for split in ("train", "test"):
        for old, new in zip(read_split(trained.records, split), read_split(spoiled, split)):
            assert old["image/encoded"] == new["image/encoded"]


def test_hits_are_shares_of_the_first_rows():
    cell = [(f"p{i}", "a") for i in range(10)]
    assert audit.hits([*cell[:3], *cell[5:]], set(cell[2:6])) == (0.5, 0.0)
    assert audit.hits(cell[:1], set(cell[:4])) == (0.25, 0.5)  # a short list
