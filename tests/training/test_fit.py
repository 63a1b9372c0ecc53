"""Training: the run directory, one step by hand, resuming, and bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.evaluation import model_card
from attr_extractor.model import augmentation, network
from attr_extractor.records import builder, dataset, plan
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.serving import export
from attr_extractor.training import fit
from attr_extractor.training.checkpoints import saved_steps
from attr_extractor.training.loop import on_replicas
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.step import TrainingModel, augmented_on_host
from tests import forked_tools
from tests.conftest import ROOT, draw_photo, run_tool, write_table
from tests.model.trunks import torch_writer
from tests.model.trunks.references import pytorch_trunks as reference


def test_a_run_directory_contains_the_files_of_later_programs(trained):
    run = RunDir.read(trained.run)
    assert run.config == Config.read(trained.config)
    assert run.schema.fingerprint == Manifest.read(trained.records).fingerprint
    names = {path.name for path in trained.run.iterdir()}
    assert names >= {
        "config.yaml", "schema.yaml", "records.json", "checkpoints", "logs", "weights.npz",
        "thresholds.json", "metrics.json",
    }  # fmt: skip
    training = json.loads((trained.run / "metrics.json").read_text())["training"]
    assert training["weights"] == "best validation score"
    assert training["images_per_second"] > 0


def test_weights_npz_is_readable_with_numpy_and_rebuilds_the_network(trained):
    with np.load(trained.run / "weights.npz", allow_pickle=False) as arrays:
        assert "branches-fused/0" in arrays.files
        first = RunDir.read(trained.run).load_network()
        for layer in first.logits.layers:
            for i, array in enumerate(layer.get_weights()):
                np.testing.assert_array_equal(array, arrays[f"{layer.name}/{i}"])


def test_tensorboard_has_loss_and_score_of_every_attribute(trained, schema):
    tags: dict[str, list] = {"train": [], "validation": []}
    for split, found in tags.items():
        for path in (trained.run / "logs" / split).glob("events*"):
            for record in tf.data.TFRecordDataset(str(path)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                found += [value.tag for value in event.summary.value]
    for found in tags.values():
        expected = {f"attribute_{kind}/{n}" for kind in ("loss", "score") for n in schema.names}
        assert {*expected, "loss", "score"} <= set(found)
        assert found.count("loss") == 3  # epochs
    assert "lr" in tags["train"]


def test_one_step_equals_a_step_written_out_by_hand(built, schema):
    """The reference computes forward pass, equation 1, gradients and Adam without any noise."""
    config = Config.read(
        built.config,
        ["augmentation.enabled=false", "train.optimizer=adam", "train.schedule=constant",
         "train.warmup_epochs=0"],
    )  # fmt: skip
    generator = np.random.default_rng(0)
    batch = {
        "pixels": tf.constant(generator.integers(0, 256, [4, 32, 32, 3], dtype=np.uint8)),
        "labels": tf.constant(generator.integers(-1, 2, [4, schema.num_values], dtype=np.int8)),
        "product_id": tf.constant(["a", "b", "c", "d"]),
    }
    built_network = network.build(schema, config)
    model = TrainingModel(built_network, schema, config)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    twin = network.build(schema, config).logits
    twin.set_weights(built_network.logits.get_weights())

    labels = batch["labels"].numpy().astype(np.float32)
    with tf.GradientTape() as tape:
        p = tf.sigmoid(twin(tf.cast(batch["pixels"], tf.float32), training=True))
        entropy = -(labels * tf.math.log(p) + (1 - labels) * tf.math.log(1 - p))
        expected = tf.reduce_sum(tf.where(labels >= 0, entropy, 0.0)) / 4
    gradients = tape.gradient(expected, twin.trainable_variables)
    for g, v in zip(gradients, twin.trainable_variables):
        v.assign_sub(1e-3 * g / (tf.abs(g) + 1e-7))  # Adam's first step
    logs = model.train_step(batch)
    assert float(logs["loss"]) == pytest.approx(float(expected), rel=1e-4)
    for found, wanted, g in zip(
        built_network.logits.trainable_variables, twin.trainable_variables, gradients
    ):
        sure = np.abs(g) > 1e-4  # the sign of a vanishing gradient is float noise
        np.testing.assert_allclose(found.numpy()[sure], wanted.numpy()[sure], atol=2e-4)


@pytest.mark.slow  # compiles three steps
def test_every_setting_of_xla_gives_the_same_loss(built, schema):
    config = Config.read(built.config)
    losses = []
    for xla in ("off", "activations", "step"):
        keras.utils.set_random_seed(0)
        settings = config.model_copy(update={"train": config.train.model_copy(update={"xla": xla})})
        model = TrainingModel(network.build(schema, settings), schema, settings)
        model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
        generator = np.random.default_rng(0)
        batch = {
            "pixels": tf.constant(generator.integers(0, 256, [4, 32, 32, 3], dtype=np.uint8)),
            "labels": tf.constant(generator.integers(-1, 2, [4, schema.num_values], np.int8)),
        }
        step = on_replicas(tf.distribute.get_strategy(), model.train_step)
        losses.append(float(step(iter(tf.data.Dataset.from_tensors(batch)))["loss"]))
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-4)


def test_a_run_with_a_frozen_trunk_keeps_the_trunks_weights(built, tmp_path):
    frozen = ["train.freeze_trunk_epochs=1", "train.epochs=1", "train.keep=last"]
    config = Config.read(built.config, frozen)
    manifest = Manifest.read(built.records)
    fresh = fit.make_model(config, manifest, 1)
    before = fresh.arrays()
    in_trunk = {layer.name for layer in fresh.layout.trunk}
    after = dict(np.load(fit.train(config, built.records, tmp_path / "run").path / "weights.npz"))
    same = {name: np.array_equal(before[name], after[name]) for name in before}
    assert {name for name, kept in same.items() if kept} >= {
        name for name in before if name.split("/")[0] in in_trunk
    }
    assert not same["branches-fused/0"] and len(in_trunk) > 5


def test_the_same_command_on_a_finished_run_changes_nothing(trained):
    files = [trained.run / name for name in ("weights.npz", "metrics.json")]
    before = [path.read_bytes() for path in files]
    fit.train(Config.read(trained.config), trained.records, trained.run)
    assert [path.read_bytes() for path in files] == before


def test_a_run_directory_of_another_config_is_rejected(trained, tmp_path):
    with pytest.raises(InputError, match="another config"):
        fit.train(Config.read(trained.config, ["train.epochs=9"]), trained.records, trained.run)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a run directory"):
        fit.train(Config.read(trained.config), trained.records, tmp_path)


def copy_of_records(built, folder, **changed):
    """Copy the records and change entries of their manifest, but not the shards."""
    shutil.copytree(built.records, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changed}))
    return folder


def test_a_run_directory_of_another_schema_is_rejected(trained, schema, tmp_path):
    other = Schema.parse(schema.to_yaml().replace("round neck", "boat neck"), "test")
    records = copy_of_records(trained, tmp_path / "other")
    manifest = (records / "manifest.json").read_text().replace("round neck", "boat neck")
    changed = {"schema_yaml": other.to_yaml(), "fingerprint": other.fingerprint}
    (records / "manifest.json").write_text(json.dumps({**json.loads(manifest), **changed}))
    with pytest.raises(InputError, match="another schema"):
        fit.train(Config.read(trained.config), records, trained.run)


def test_rebuilt_records_are_detected(trained, tmp_path):
    run, records = tmp_path / "run", tmp_path / "records"
    shutil.copytree(trained.run, run)
    copy_of_records(trained, records)
    origin = json.loads((run / "records.json").read_text())
    (run / "records.json").write_text(json.dumps({**origin, "records": str(records)}))
    assert RunDir.read(run).manifest().digest == origin["digest"]
    shutil.rmtree(records)
    copy_of_records(trained, records, build={"split_seed": 1})
    with pytest.raises(InputError, match="records were rebuilt"):
        RunDir.read(run).manifest()
    with pytest.raises(InputError, match="other records"):
        fit.train(Config.read(trained.config), records, run)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:1000], lambda data: data[:-5000] + b"x" * 5000]
)
def test_damaged_weights_raise(trained, tmp_path, spoil):
    shutil.copytree(trained.run, tmp_path / "run")
    path = tmp_path / "run" / "weights.npz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"weights.npz: not a readable weights file"):
        RunDir.read(tmp_path / "run").load_network()


def test_a_batch_larger_than_the_split_is_rejected(built, tmp_path):
    with pytest.raises(InputError, match="batch_size is 999"):
        fit.train(
            Config.read(built.config, ["data.batch_size=999"]), built.records, tmp_path / "run"
        )


def test_records_without_labels_are_rejected(built, schema, tmp_path):
    rows = []
    for i in range(30):
        draw_photo(tmp_path / f"{i}.jpg", "shirt", ["red"], "v-neck")
        rows.append({"product_id": f"p{i}", "image": f"{i}.jpg", **dict.fromkeys(schema.names, "")})
    table = write_table(tmp_path / "catalogue.csv", rows)
    builder.build(table, schema, tmp_path / "records", options=plan.BuildOptions(image_size=32))
    with pytest.raises(InputError, match="no photo of the training split has a known value"):
        fit.train(Config.read(built.config), tmp_path / "records", tmp_path / "run")


def test_stretches_finish_the_interrupted_epoch_first():
    # first step, end step of the phase, steps per epoch
    assert fit._stretches(0, 30, 10) == [(0, 3, 10)]
    assert fit._stretches(10, 30, 10) == [(1, 3, 10)]
    assert fit._stretches(14, 30, 10) == [(1, 2, 6), (2, 3, 10)]
    assert fit._stretches(24, 30, 10) == [(2, 3, 6)]
    assert fit._stretches(14, 20, 10) == [(1, 2, 6)]
    assert fit._stretches(30, 30, 10) == []


def newest_step(run) -> int:
    """Return the step of the newest checkpoint, or -1 if there is none."""
    return max(saved_steps(run / "checkpoints"), default=-1)


@pytest.mark.slow
def test_a_killed_run_resumes_from_its_checkpoint_and_finishes(built, tmp_path):
    run = tmp_path / "run"
    flags = [f"--config={built.config}", f"--records={built.records}", f"--run_dir={run}"]
    flags += ["--set=train.epochs=8", "--set=train.checkpoint_minutes=0.001"]
    process = forked_tools.Program(ROOT / "tools" / "train.py", flags, ROOT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and newest_step(run) < 10:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "weights.npz").exists()
    done = run_tool("train", *flags)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stdout
    step = int(done.stdout.split("resuming from step")[1].split()[0])
    assert step >= 10
    run_dir = RunDir.read(run)
    steps = 8 * (Manifest.read(built.records).splits["train"].photos // 8)
    assert newest_step(run) == steps
    assert np.isfinite(run_dir.load_network().logits(np.zeros([1, 32, 32, 3], np.uint8))).all()


def test_a_damaged_record_raises(built, tmp_path):
    records = tmp_path / "records"
    shutil.copytree(built.records, records)
    shard = sorted(records.glob("train-*.tfrecord"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF  # same size, wrong checksum
    shard.write_bytes(data)
    with pytest.raises(InputError, match="a shard is damaged"):
        fit.train(Config.read(built.config), records, tmp_path / "run")


def test_augmentation_on_the_host_equals_that_of_a_step(built):
    config = Config.read(built.config)
    manifest = Manifest.read(built.records)
    batches = dataset.training_batches(built.records, manifest, config.data, 0, start_step=3)
    for step, (plain, ready) in enumerate(
        zip(batches.take(2), augmented_on_host(batches, config, 3)), start=3
    ):
        seed = tf.constant([config.train.seed, step], tf.int64)
        by_loop, by_op = (
            augmentation.augment(plain["pixels"], config.augmentation, seed, compiled)
            for compiled in (True, False)
        )
        np.testing.assert_allclose(ready["pixels"], by_op, atol=1e-3)
        np.testing.assert_allclose(ready["pixels"], by_loop, atol=0.02)  # of 255
        np.testing.assert_array_equal(ready["labels"], plain["labels"])


def test_photos_too_small_for_a_later_phase_are_rejected_before_training(built, tmp_path):
    sizes = ["train.image_sizes={0: 64, 1: 32}", "data.image_size=32"]
    config = Config.read(built.config, ["model.trunk=inceptionv3", *sizes])
    with pytest.raises(InputError, match="too small for inceptionv3: at least 75"):
        fit.train(config, built.records, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_init_from_starts_with_the_weights_of_another_run(trained, tmp_path):
    """With negligible steps, the weights stay equal, except batch statistics."""
    content = Config.read(trained.config).model_dump()
    content["train"].update(
        init_from=str(trained.run), learning_rate=1e-30, epochs=1, keep="last", average=0.9
    )
    fit.train(Config.model_validate(content), trained.records, tmp_path / "run")
    with (
        np.load(trained.run / "weights.npz") as before,
        np.load(tmp_path / "run" / "weights.npz") as after,
    ):
        assert set(before.files) == set(after.files)
        moved = [n for n in before.files if not np.allclose(before[n], after[n], atol=1e-6)]
    assert moved and all("bn" in name for name in moved)  # moving mean and variance


def test_init_from_rejects_another_schema_and_an_untrained_run(trained, tmp_path):
    def begin(run, **model):
        content = Config.read(trained.config).model_dump()
        content["train"]["init_from"] = str(run)
        content["model"].update(model)
        fit.train(Config.model_validate(content), trained.records, tmp_path / "new")

    other = tmp_path / "other"
    shutil.copytree(trained.run, other, ignore=shutil.ignore_patterns("checkpoints"))
    (other / "weights.npz").unlink()
    with pytest.raises(InputError, match="is it trained"):
        begin(other)
    schema = (other / "schema.yaml").read_text(encoding="utf-8").replace("zip", "zipper")
    (other / "schema.yaml").write_text(schema, encoding="utf-8")
    with pytest.raises(InputError, match="schema"):
        begin(other)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="weights of another network"):
        begin(trained.run, hidden=[4, 4])


@pytest.mark.slow
def test_a_run_keeps_style_and_source_of_a_pytorch_file(built, tmp_path):
    """The trained network is loaded again, and trained on, after the file is gone."""
    lite = next(n for n in reference.NETWORKS if n.name == "efficientnet_lite0")
    with np.load(reference.FILE) as file:
        shapes = reference.shapes_of(file, lite)
    arrays = reference.random_state(shapes, reference.gain_of(lite.trunk))
    path = tmp_path / "efficientnet_lite0_ra.pth"
    torch_writer.write(arrays, path, "zipped")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    small = ["model.fuse_stages=1", "train.epochs=1", "model.trunk=efficientnetlite0"]
    run = tmp_path / "run"
    fit.train(Config.read(built.config, [*small, f"model.weights={path}"]), built.records, run)
    path.unlink()

    read = RunDir.read(run)
    assert (read.config.model.style, read.config.model.pixels) == ("pytorch", "imagenet")
    expected = {"file": path.name, "sha256": digest, "naming": "timm"}
    assert read.metrics()["training"]["trunk_weights"] == expected
    card = model_card.write_card(read)
    assert card["training"]["trunk_weights"] == expected
    assert digest in (run / model_card.PAGE).read_text()
    assert export.describe(read, read.thresholds()).trunk_weights == expected
    norm = read.load_network().logits.get_layer("stem_bn")
    assert norm.epsilon == 1e-5

    init_from = f"train.init_from={run}"
    second = Config.read(built.config, [*small, init_from, "model.weights=imagenet"])
    other = fit.train(second, built.records, tmp_path / "second")
    assert other.config.model.style == "pytorch" and other.trunk_weights == expected
    third = Config.read(built.config, [*small, init_from, "model.style=tensorflow"])
    with pytest.raises(InputError, match="model.style: tensorflow, but .* has pytorch"):
        fit.train(third, built.records, tmp_path / "third")


def test_a_missing_weights_file_is_rejected_before_the_run_directory_exists(built, tmp_path):
    config = Config.read(built.config, ["model.weights=nowhere.pth"])
    with pytest.raises(InputError, match=r"nowhere\.pth: no such file"):
        fit.train(config, built.records, tmp_path / "run")
    assert not (tmp_path / "run").exists()
