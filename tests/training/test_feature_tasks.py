"""Features computed by tasks: the same files as in one process, and only the missing ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import feature_tasks, features, fit
from tests.records.by_hand import InProcess

SETTINGS = ["train.features=positions", "train.feature_views=2", "model.fuse_stages=2"]


@pytest.fixture
def records(built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.records, tmp_path / "records"))


@pytest.fixture
def config(built) -> Config:
    return Config.read(built.config, SETTINGS)


def files(records: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (records / "features").rglob("*.tfrecord")}


def test_tasks_write_the_same_files_as_one_process(records, config, tmp_path: Path):
    alone = Path(shutil.copytree(records, tmp_path / "alone"))
    manifest = Manifest.read(alone)
    settled, _ = fit.settled(config)
    features.compute(alone, manifest, settled, fit.network_of_features(settled, manifest))
    planned = feature_tasks.compute(config, records, InProcess())
    assert files(records) == files(alone) and len(planned.missing) == len(files(alone))
    folder = Path(planned.folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files(alone))


def test_a_rerun_computes_only_what_is_missing(records, config):
    class Stops(InProcess):
        def run(self, work, tasks, name):
            super().run(work, tasks[:2], name)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_tasks.compute(config, records, Stops())
    done = {path: path.stat().st_ino for path in records.rglob("*-view-*.tfrecord")}
    assert len(done) == 2
    again = feature_tasks.compute(config, records, InProcess())
    assert {path: path.stat().st_ino for path in done} == done
    assert {part.path for part in again.missing}.isdisjoint(map(str, done))
    assert not feature_tasks.compute(config, records, InProcess()).missing


def test_a_host_with_other_weights_of_the_trunk_is_refused(records, config, monkeypatch):
    class OnAnotherHost(InProcess):
        def run(self, work, tasks, name):
            feature_tasks._prepared.cache_clear()
            monkeypatch.setattr(features, "_digest", lambda whole, config: "other")
            super().run(work, tasks, name)

    with pytest.raises(InputError, match="other weights of the trunk"):
        feature_tasks.compute(config, records, OnAnotherHost())


def test_a_config_without_features_is_refused(built, records):
    with pytest.raises(InputError, match="train.features: none; set it to positions or pooled"):
        feature_tasks.compute(Config.read(built.config), records, InProcess())
