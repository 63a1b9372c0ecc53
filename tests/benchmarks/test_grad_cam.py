"""The bench of Grad-CAM: its figures of heat whose place is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.records import pixels
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from benchmarks import grad_cam
from tests.conftest import ROOT

SCHEMA = Schema.read(ROOT / "configs" / "schemas" / "demo.yaml")
SIZE = 48
NECK = SCHEMA.slices["neck_type"]


@pytest.fixture(scope="module")
def run() -> SimpleNamespace:
    text = {
        "name": "t",
        "data": {"image_size": SIZE},
        "model": {"trunk": "small_cnn", "weights": "none", "fuse_stages": 1},
    }
    return SimpleNamespace(config=Config.model_validate(text), schema=SCHEMA)


def test_perfect_heat_hits_always_and_heat_of_the_other_attribute_never(run):
    photos = list(grad_cam.draw(SCHEMA, 3))
    seen = [
        {name: pixels.to_model_size(255 * np.uint8(np.dstack([region] * 3)), SIZE, "squeeze")
         for name, region in drawn.regions.items()}
        for drawn in photos
    ]  # fmt: skip

    def heats(batch: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        names = ["neck_type" if NECK.start <= v < NECK.stop else "sleeve_length" for v in values]
        regions = [np.float32(of[name][..., 0]) for of, name in zip(seen, names)]
        return tf.constant(regions) ** 4  # nothing of its faded edge

    scores = SimpleNamespace(flat_scores=lambda batch: tf.zeros([len(batch), SCHEMA.num_values]))
    found = grad_cam.measure(run, scores, SimpleNamespace(heats=heats), photos)
    for name, row in found.items():
        areas = [drawn.regions[name].mean() for drawn in photos]
        assert row["chance"] == pytest.approx(np.mean(areas))
        assert row["hottest"] == 1 and row["other"] == 0
        assert row["heat"] > 0.9


def test_every_way_is_measured(run, monkeypatch):
    built = network.build(SCHEMA, run.config)
    fake = SimpleNamespace(load_network=lambda: built, config=run.config, schema=SCHEMA)
    monkeypatch.setattr(RunDir, "read", classmethod(lambda cls, path: fake))
    lines = grad_cam.report("run", 2).splitlines()[3:]
    assert len(lines) == 2 * 5
    figures = np.array([line.split()[-4:] for line in lines], float)
    assert ((figures >= 0) & (figures <= 1)).all()
    assert len(set(figures[::2, 2])) == len(set(figures[1::2, 2])) == 1  # one chance for all ways


def test_a_run_of_another_schema_is_refused(trained):
    with pytest.raises(InputError, match="the demo requires a category|the demo cannot draw"):
        grad_cam.report(trained.run, 1)
