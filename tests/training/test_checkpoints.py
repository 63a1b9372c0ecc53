"""Checkpoints: damage, a full disk, which ones are kept, and the best weights."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.training import fit
from attr_extractor.training.checkpoints import Checkpoints, saved_steps
from attr_extractor.training.strategy import Devices

ONE = Devices(tf.distribute.get_strategy())


class Run:
    """A network of one layer whose weights equal the step; `start` acts like a new process."""

    def __init__(self, path: Path, minutes: float = 1e9):
        self.path = path
        self.minutes = minutes
        (path / "checkpoints").mkdir(exist_ok=True)
        self.folder = path / "checkpoints"

    def start(self, **options) -> Checkpoints:
        network = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2)])
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build(network.trainable_variables)
        self.model = SimpleNamespace(network=network, optimizer=optimizer)
        config = SimpleNamespace(train=SimpleNamespace(checkpoint_minutes=self.minutes))
        self.stop = SimpleNamespace(require_finite=lambda: None)
        return Checkpoints(
            SimpleNamespace(path=self.path, config=config), self.model, ONE, 10,
            lambda: {"x": np.array(self.weight())}, self.stop, **options,
        )  # fmt: skip

    def weight(self) -> float:
        return float(self.model.network.get_weights()[0][0, 0])

    def at(self, step: int) -> None:
        """Set the model to its state after a number of steps."""
        self.model.optimizer.iterations.assign(step)
        self.model.network.set_weights([np.full([3, 2], step), np.full([2], step)])

    def save(self, checkpoints: Checkpoints, *steps: int) -> None:
        for step in steps:
            self.at(step)
            checkpoints.on_epoch_end(0, {})

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def both_files(*steps: int) -> set[str]:
    return {f"step-{step}.{end}" for step in steps for end in ("index", "data-00000-of-00001")}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x55
    path.write_bytes(data)


# Damage


@pytest.mark.parametrize("end", ["data-00000-of-00001", "index"])
@pytest.mark.parametrize("damage", [cut, empty, flip, Path.unlink])
def test_a_damaged_newest_checkpoint_falls_back_to_the_previous_one(run, capsys, damage, end):
    run.save(run.start(), 3, 6)
    damage(run.folder / f"step-6.{end}")
    checkpoints = run.start()
    assert checkpoints.restore() == 3
    assert run.weight() == 3.0
    if end == "index" and damage is Path.unlink:
        return  # a save that was killed leaves no index: nothing that could be called newest
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{run.folder}/step-6: damaged: ")
    assert line.endswith("; falling back to step 3")
    assert "{{" not in line and "[Op:" not in line
    assert run.start().restore() == 3
    assert capsys.readouterr().err == ""  # said once


def test_after_a_fallback_two_intact_checkpoints_are_kept_and_the_damaged_one_is_removed(run):
    run.save(run.start(), 3, 6)
    cut(run.folder / "step-6.index")
    checkpoints = run.start()
    checkpoints.restore()
    run.save(checkpoints, 5)
    assert run.names() == both_files(3, 5)
    run.save(checkpoints, 6)
    assert run.names() == both_files(5, 6)
    assert run.start().restore() == 6


def test_without_a_readable_checkpoint_the_run_does_not_restart_from_scratch(run):
    run.save(run.start(), 3, 6)
    for step in (3, 6):
        cut(run.folder / f"step-{step}.data-00000-of-00001")
    for _ in range(2):  # nor by the same command again
        with pytest.raises(InputError, match="checkpoints: none of the 2 checkpoints can be read"):
            run.start().restore()
    assert run.names() == both_files(3, 6)


def test_a_new_run_starts_at_step_0(run):
    assert run.start().restore() == 0


def test_a_trained_run_resumes_from_the_checkpoint_before_a_damaged_one(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    newest, before = saved_steps(run / "checkpoints")
    cut(run / "checkpoints" / f"step-{newest}.data-00000-of-00001")
    (run / "weights.npz").unlink()
    fit.train(Config.read(trained.config), trained.records, run)
    shown = capsys.readouterr()
    assert f"step-{newest}: damaged: " in shown.err
    assert f"resuming from step {before} of {newest}" in shown.out
    assert saved_steps(run / "checkpoints") == [newest, before]
    assert (run / "weights.npz").is_file()


# A full disk


def require_earlier_ones_intact(run: Run) -> None:
    assert run.names() == both_files(3, 6)
    checkpoints = run.start()
    assert checkpoints.restore() == 6
    assert run.weight() == 6.0


def test_a_full_disk_raises_and_keeps_the_earlier_checkpoints(run):
    checkpoints = run.start()
    run.save(checkpoints, 3, 6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes a file may have
    try:
        with pytest.raises(InputError) as caught:
            run.save(checkpoints, 9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"{run.folder}/step-9: the checkpoint cannot be written: File too large (that of step 6 "
        "is kept); free some disk space and rerun the command"
    )
    require_earlier_ones_intact(run)


def test_the_error_says_no_space_left(run, monkeypatch):
    checkpoints = run.start()
    run.save(checkpoints, 3, 6)

    def no_space(self, prefix):  # what TensorFlow raises on a file system of 1 MiB
        (run.folder / "step-9_temp").mkdir()
        part = f"{prefix}_temp/part-00000-of-00001.data-00000-of-00001.tempstate158"
        node = "{{function_node __wrapped__SaveV2_device_/job:localhost/device:CPU:0}}"
        message = f"{node} {part}; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", no_space)
        with pytest.raises(
            InputError, match=r"step-9: .* cannot be written: No space left on device \(that of"
        ):
            run.save(checkpoints, 9)
    require_earlier_ones_intact(run)


def test_weights_that_are_not_finite_are_not_saved(run):
    checkpoints = run.start()
    run.save(checkpoints, 3, 6)

    def not_finite():
        raise InputError("not finite")

    run.stop.require_finite = not_finite
    for logs in ({}, {"val_score": 1.0}):
        run.at(9)
        with pytest.raises(InputError, match="not finite"):
            checkpoints.on_epoch_end(0, logs)
    require_earlier_ones_intact(run)


# What is kept


def test_two_checkpoints_are_kept_and_leftovers_of_a_killed_save_are_removed(run):
    checkpoints = run.start()
    (run.folder / "step-2_temp").mkdir()
    (run.folder / "step-2_temp" / "part").write_bytes(b"half")
    run.save(checkpoints, 3, 6, 9, 12)
    assert run.names() == both_files(9, 12)
    assert saved_steps(run.folder) == [12, 9]


def test_the_newest_checkpoint_has_the_highest_step(run):
    run.save(run.start(), 9, 10)
    assert run.start().restore() == 10


def test_within_an_epoch_a_save_is_due_after_minutes_but_not_at_the_last_step(tmp_path):
    for minutes, expected in ((1e9, []), (1e-9, [11, 9])):
        run = Run(tmp_path, minutes)
        checkpoints = run.start()
        for step in (8, 9, 10, 11, 20):  # 10 an epoch
            run.at(step - 1)
            checkpoints.on_train_begin()
            run.at(step)
            checkpoints.on_train_batch_end(0)
        assert saved_steps(run.folder) == expected


def test_a_checkpoint_contains_seconds_and_tracked_objects(run):
    average = tf.train.Checkpoint(kernel=tf.Variable([1.0, 2.0]))
    checkpoints = run.start(average=average, another=None)
    run.save(checkpoints, 4)
    kernel = tf.Variable([0.0, 0.0])
    again = run.start(average=tf.train.Checkpoint(kernel=kernel))
    again.restore()
    assert kernel.numpy().tolist() == [1.0, 2.0]
    assert float(again.seconds) == float(checkpoints.seconds) > 0


# The best weights


def test_the_best_weights_are_those_at_the_best_score(run, monkeypatch):
    checkpoints = run.start()
    assert checkpoints.best() is None
    reads = []
    read = files.read_arrays
    monkeypatch.setattr(files, "read_arrays", lambda path: reads.append(path) or read(path))
    for step, score in ((1, float("nan")), (2, 0.25), (3, 0.5), (4, 0.5), (5, 0.4)):
        run.at(step)
        checkpoints.on_epoch_end(0, {"val_score": score})
    assert reads == []
    assert checkpoints.best() == (0.5, {"x": 3.0})


def test_scores_of_a_phase_with_smaller_photos_do_not_count(run):
    checkpoints = run.start(keep_best=False)
    checkpoints.on_epoch_end(0, {"val_score": 0.9})
    assert checkpoints.best() is None


def test_a_resumed_run_knows_the_best_score(run):
    checkpoints = run.start()
    run.at(1)
    checkpoints.on_epoch_end(0, {"val_score": 0.5})
    again = run.start()
    for step, score in ((2, 0.4), (3, 0.6)):
        before = again.best()
        run.at(step)
        again.on_epoch_end(0, {"val_score": score})
        assert (again.best() == before) == (score < 0.5)
    assert again.best() == (0.6, {"x": 3.0})
