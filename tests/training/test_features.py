"""Features of a frozen trunk: equal to the network's own, computed once, and trained on."""

from __future__ import annotations

import dataclasses
import random
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.evaluation.audit.features import collect_features
from attr_extractor.model import network
from attr_extractor.records import dataset, subset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import features, fit
from attr_extractor.training.run_dir import RunDir
from tests import forked_tools
from tests.conftest import ROOT

# nothing that photos have and features do not: augmentation, mixing, a trainable trunk
PLAIN = ["augmentation.enabled=false", "model.fuse_stages=2", "train.keep=last", "train.epochs=2"]
FROZEN = [*PLAIN, "train.features=positions"]


@pytest.fixture
def records(built, tmp_path) -> Path:
    return Path(shutil.copytree(built.records, tmp_path / "records"))


def files(records: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(records)): path.read_bytes()
        for path in (records / "features").rglob("*.tfrecord")
    }


def compute(built, records: Path, *settings: str) -> tuple[network.Network, features.Frozen]:
    config, manifest = Config.read(built.config, [*FROZEN, *settings]), Manifest.read(records)
    keras.utils.set_random_seed(0)
    made = network.build(manifest.schema, config)
    return made, features.compute(records, manifest, config, made)


def stored(records: Path, frozen: features.Frozen, view: int = 0) -> dict[str, np.ndarray]:
    """Return the vectors by shard, float16 [photos, F]."""
    return {
        shard: np.stack(
            [
                np.frombuffer(row, np.float16)
                for row in tf.data.TFRecordDataset(path).as_numpy_iterator()
            ]
        )
        for shard, path in frozen.files.views[view].items()
    }


def test_training_on_features_equals_training_on_photos_with_a_frozen_trunk(
    built, records, tmp_path
):
    on_photos = Config.read(built.config, [*PLAIN, "train.freeze_trunk_epochs=2"])
    fit.train(on_photos, records, tmp_path / "photos")
    fit.train(Config.read(built.config, FROZEN), records, tmp_path / "features")
    expected, found = (
        dict(np.load(tmp_path / name / "weights.npz")) for name in ("photos", "features")
    )
    assert found.keys() == expected.keys()
    before = network.layer_arrays(fit.make_model(on_photos, Manifest.read(records), 1).network)
    moved = 0.0
    for name, array in expected.items():
        # features are rounded to float16
        np.testing.assert_allclose(found[name], array, atol=2e-3, err_msg=name)
        moved = max(moved, np.abs(array - before[name]).max())
    assert moved > 0.01


@pytest.mark.parametrize("kind", ["positions", "pooled"])
def test_stored_vectors_are_the_activations_of_the_photos(built, records, kind):
    settings = ["train.features=pooled", "model.attention.enabled=false"] * (kind == "pooled")
    made, frozen = compute(built, records, *settings)
    manifest, config = Manifest.read(records), Config.read(built.config, FROZEN)
    (shard, *_) = manifest.splits["train"].shards
    vectors = stored(records, frozen)[shard.name]
    assert len(vectors) == shard.records
    photos = np.concatenate(
        [b["pixels"] for b in dataset.shard_batches(records, manifest, config.data, shard.name)]
    )
    last, earlier = made.maps[-1], made.maps[-2]
    maps = keras.Model(made.logits.input, [last, earlier]).predict(photos, verbose=0)
    positions = maps[0].reshape([len(photos), -1, maps[0].shape[-1]])
    if kind == "pooled":
        positions = positions.mean(axis=1)
    by_hand = [positions.reshape([len(photos), -1]), maps[1].mean(axis=(1, 2))]
    np.testing.assert_allclose(vectors, np.concatenate(by_hand, axis=1), rtol=2e-3, atol=2e-3)


def test_further_views_are_augmented_and_used_in_turn(built, records):
    flips = ["augmentation.enabled=true", "augmentation.flip=1", "augmentation.zoom=0"]
    flips += ["augmentation.shift=0", "augmentation.rotation=0", "augmentation.shear=0"]
    made, frozen = compute(built, records, "train.feature_views=2", *flips)
    manifest, config = Manifest.read(records), Config.read(built.config)
    (shard, *_) = manifest.splits["train"].shards
    photos = np.concatenate(
        [b["pixels"] for b in dataset.shard_batches(records, manifest, config.data, shard.name)]
    )
    positions = keras.Model(made.logits.input, made.features[0])
    flipped = positions.predict(photos[:, :, ::-1], verbose=0).reshape([len(photos), -1])
    second = stored(records, frozen, view=1)[shard.name][:, : flipped.shape[1]]
    np.testing.assert_allclose(second, flipped, rtol=5e-3, atol=5e-3)
    steps = dataset.steps_per_epoch(manifest, config.data)
    for epoch in (0, 1, 2):
        batches = dataset.training_batches(
            records, manifest, config.data, 0, epoch * steps, features=frozen.files
        )
        (batch,) = batches.take(1)
        of_view = np.concatenate(list(stored(records, frozen, view=epoch % 2).values()))
        for vector in batch["features"].numpy():
            assert (of_view == vector).all(axis=1).any()


def test_an_interrupted_computation_resumes_and_new_labels_keep_the_features(
    built, records, tmp_path, monkeypatch
):
    write, calls = features._write, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(features, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute(built, records)
    assert len(files(records)) == 1
    compute(built, records)
    shards = sum(len(split.shards) for split in Manifest.read(records).splits.values())
    assert len(calls) == 1 + shards
    compute(built, records)
    assert len(calls) == 1 + shards
    whole = Path(shutil.copytree(built.records, tmp_path / "whole"))
    compute(built, whole)
    assert files(records) == files(whole)
    path = next((records / "features").rglob("*.tfrecord"))
    content = path.read_bytes()
    vectors = int.from_bytes(content[:8], "little") + 16  # bytes of a record
    path.write_bytes(content[:-vectors])  # a file that ends between two records is read silently
    compute(built, records)
    assert files(records) == files(whole)


def test_other_weights_and_photos_have_other_features(built, records):
    compute(built, records)
    folder = next((records / "features").iterdir())
    compute(built, records, "data.image_size=48")
    keras.utils.set_random_seed(1)
    manifest, config = Manifest.read(records), Config.read(built.config, FROZEN)
    features.compute(records, manifest, config, network.build(manifest.schema, config))
    assert len(list((records / "features").iterdir())) == 3
    compute(built, records, "model.hidden=[4, 4]", "train.learning_rate=0.1", "model.dropout=0.5")
    assert len(list((records / "features").iterdir())) == 3
    assert folder.is_dir()


def test_fine_tuning_starts_from_a_run_on_features(built, records, tmp_path):
    run = fit.train(Config.read(built.config, FROZEN), records, tmp_path / "frozen")
    tuned = Config.read(built.config, [*PLAIN, f"train.init_from={run.path}"])
    start = fit.make_model(tuned, Manifest.read(records), 1)
    photos = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3], np.uint8)
    expected = RunDir.read(run.path).load_network().logits(photos, training=False)
    np.testing.assert_allclose(start.network(photos, training=False), expected, atol=1e-5)


def test_parts_of_a_learning_curve_reuse_the_features(built, records, tmp_path):
    _, frozen = compute(built, records, "train.feature_views=2")
    whole = Manifest.read(records)
    part = subset.write_subset(records, 0.5, tmp_path / "part")
    features.copy_to_subset(records, whole, tmp_path / "part", part)
    copied = files(tmp_path / "part")
    _, again = compute(built, tmp_path / "part", "train.feature_views=2")
    assert files(tmp_path / "part") == copied
    rows = np.concatenate(list(stored(tmp_path / "part", again, view=1).values()))
    assert len(rows) == part.splits["train"].photos < whole.splits["train"].photos
    every = {row.tobytes() for row in np.concatenate(list(stored(records, frozen, 1).values()))}
    assert {row.tobytes() for row in rows} <= every


def test_the_audit_reads_the_features_of_a_run(built, records, tmp_path, monkeypatch):
    run = fit.train(Config.read(built.config, FROZEN), records, tmp_path / "run")
    monkeypatch.setattr(dataset.pixels, "from_stored", None)  # no photo is decoded
    found = collect_features(run, records, run.manifest(), tmp_path)
    monkeypatch.undo()
    plain = dataclasses.replace(run, config=Config.read(built.config, PLAIN))
    (tmp_path / "photos").mkdir()
    expected = collect_features(plain, records, run.manifest(), tmp_path / "photos")
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_disk_without_room_is_an_error_before_any_work(built, records, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 99))
    with pytest.raises(InputError, match=r"0\.00 GiB free, but the features need 0\.\d\d; free"):
        compute(built, records)
    assert not files(records)


def test_settings_that_features_exclude_are_refused(built):
    for settings, words in (
        (["train.features=pooled"], "model.attention.enabled: false"),
        (["train.features=positions", "train.image_sizes={0: 32}"], "one image size"),
        (["train.features=positions", "train.strategy=multi_worker"], "one process"),
    ):
        with pytest.raises(InputError, match=words):
            Config.read(built.config, settings)


@pytest.mark.slow
def test_a_run_killed_while_it_computes_features_and_trains_on_them_is_equal(built, tmp_path):
    settings = ["train.features=positions", "train.feature_views=3", "train.epochs=4"]
    settings += ["train.deterministic=true", "model.dropout=0.3", "train.keep=last"]

    def start(name: str) -> forked_tools.Program:
        shutil.copytree(built.records, tmp_path / name, dirs_exist_ok=True)
        flags = [f"--config={built.config}", f"--records={tmp_path / name}"]
        flags += [f"--run_dir={tmp_path / name}_run", *(f"--set={s}" for s in settings)]
        flags += ["--set=train.checkpoint_minutes=0.0001"]
        return forked_tools.Program(ROOT / "tools" / "train.py", flags, ROOT)

    assert start("undisturbed").wait() == 0
    chance = random.Random(0)
    for files_wanted in (2, 5, 12):
        process = start("killed")
        while process.poll() is None and len(files(tmp_path / "killed")) < files_wanted:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start("killed").wait() == 0
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")
    expected = dict(np.load(tmp_path / "undisturbed_run" / "weights.npz"))
    for name, array in np.load(tmp_path / "killed_run" / "weights.npz").items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
