"""Checkpoints of a run and its best weights: written whole, and passed over where damaged."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor import files, storage
from attr_extractor.errors import InputError, parsing
from attr_extractor.training.nan_stop import StopAtNaN
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.strategy import Devices

KEPT = 2
ASKED_EVERY = 20  # steps, whether it is time to save: the answer is a sum over all workers
SCORE = "validation score"  # its key beside the arrays in best.npz
_INDEX = re.compile(r"step-([1-9][0-9]{0,17})\.index")


class Checkpoints(keras.callbacks.Callback):
    """Saves the run every few minutes and at each epoch's end, and the best weights so far.

    Args:
      arrays: gives the arrays to keep where a validation score is the best so far.
      stop: asked before anything is saved whether the weights are finite.
      keep_best: whether scores count: those of a run's phases with smaller photos do not.
      tracked: further objects of the run's state, by name; None for those it does not have.
    """

    def __init__(
        self,
        run: RunDir,
        model: Any,
        devices: Devices,
        steps_per_epoch: int,
        arrays: Callable[[], dict[str, np.ndarray]],
        stop: StopAtNaN,
        keep_best: bool = True,
        **tracked: Any,
    ):
        super().__init__()
        self.devices = devices
        self.steps_per_epoch = steps_per_epoch
        self.arrays = arrays
        self.stop = stop
        self.keep_best = keep_best
        self.seconds = tf.Variable(0.0, name="seconds", dtype=tf.float64)  # over all restarts
        self.folder = run.path / "checkpoints"
        self._scratch = tempfile.TemporaryDirectory() if not devices.is_chief else None
        self.best_path = self.folder / "best.npz"
        best = self.best()
        self.best_score = -np.inf if best is None else best[0]
        self.every = 60.0 * run.config.train.checkpoint_minutes
        self.last_saved = self.counted_to = time.monotonic()
        self.optimizer = model.optimizer
        self.checkpoint = tf.train.Checkpoint(
            network=model.network,
            optimizer=model.optimizer,
            seconds=self.seconds,
            **{name: value for name, value in tracked.items() if value is not None},
        )
        self.whole: list[int] = []  # steps of the checkpoints known to be whole, oldest first

    def restore(self) -> int:
        """Loads the newest checkpoint that can be read, if any; returns the step to go on from.

        Raises:
          InputError: as of `newest_step`.
        """
        step = newest_step(self.folder, tells=self.devices.is_chief)
        if self.devices.total(step) != step * self.devices.workers:
            raise InputError(
                f"{self.folder}: worker {self.devices.worker} finds step {step} as the newest, "
                "others another one; all workers need one file system"
            )
        if step:
            path = self.folder / f"step-{step}"
            with parsing(f"{path}: not a checkpoint of this config"):
                self.checkpoint.read(str(path)).assert_existing_objects_matched()
            self.whole = [step]
        return step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # not at an epoch's last step: a run resumed from there would skip its validation
        within_epoch = steps_done(self.optimizer) % self.steps_per_epoch
        if within_epoch and self._is_due(within_epoch):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        score = (logs or {}).get("val_score")
        if self.keep_best and score is not None and score > self.best_score:
            self.stop.require_finite_weights()
            arrays = {**self.arrays(), SCORE: np.array(score)}
            if self.devices.is_chief:
                files.write_arrays(self.best_path, arrays)
            self.best_score = score
        self._save()

    def best(self) -> tuple[float, dict[str, np.ndarray]] | None:
        """The best validation score so far and its weights, in one file so that they agree."""
        return read_best(self.best_path)

    def _is_due(self, step: int) -> bool:
        """Whether the chief's clock says so; all workers save together, so they ask it together."""
        due = time.monotonic() - self.last_saved > self.every
        if self.devices.workers == 1:
            return due
        return not step % ASKED_EVERY and bool(self.devices.total(due and self.devices.is_chief))

    def _save(self) -> None:
        self.stop.require_finite_weights()
        now = time.monotonic()
        self.seconds.assign_add(now - self.counted_to)
        self.counted_to = now
        step = steps_done(self.optimizer)
        try:
            self.checkpoint.write(self._prefix(step))
        except tf.errors.OpError as error:
            self._sweep()
            kept = f"that of step {self.whole[-1]} is kept" if self.whole else "there is none yet"
            raise InputError(
                f"{self._prefix(step)}: the checkpoint cannot be written: "
                f"{_reason(error).rpartition('; ')[2]} ({kept}); free some space and give the "
                "same command again"
            ) from error
        self.whole = [*self.whole, step][-KEPT:]
        self._sweep()
        self.last_saved = time.monotonic()

    def _sweep(self) -> None:
        """Removes older checkpoints, damaged ones, and what a killed or failed save left."""
        kept = {f"step-{step}" for step in self.whole}
        for path in self._own_folder.glob("*step-*"):
            if path.name.partition(".")[0] not in kept:
                storage.remove(path)

    @property
    def _own_folder(self) -> Path:
        """Where this worker writes: all of them must, because they read variables together."""
        return Path(self._scratch.name) if self._scratch else self.folder

    def _prefix(self, step: int) -> str:
        return str(self._own_folder / f"step-{step}")


def read_best(path: Path) -> tuple[float, dict[str, np.ndarray]] | None:
    """The score and the weights in best.npz; None where there is none yet.

    Raises:
      InputError: it is damaged.
    """
    if not path.is_file():
        return None
    arrays = files.read_arrays(path)
    if SCORE not in arrays or arrays[SCORE].shape:
        raise InputError(f"{path}: not the best weights of a run: no {SCORE} in it")
    return float(arrays.pop(SCORE)), arrays


def newest_step(folder: Path, tells: bool = True) -> int:
    """The step of the newest checkpoint that can be read, 0 where there is none at all.

    A newer one that cannot is told in a line on stderr, renamed, and removed at the next save,
    unless another process `tells`.

    Raises:
      InputError: there are checkpoints, and none can be read.
    """
    damaged: list[tuple[str, list[Path]]] = []
    for step in saved_steps(folder):
        reason = _damage(folder / f"step-{step}")
        if not reason:
            for line, paths in damaged if tells else ():
                print(f"{line}; going back to step {step}", file=sys.stderr)
                for path in paths:
                    path.rename(path.with_name(f"damaged-{path.name}"))
            return step
        damaged.append((f"{folder}/step-{step}: {reason}", list(folder.glob(f"step-{step}.*"))))
    if damaged:
        raise InputError(
            f"{folder}: none of the {len(damaged)} checkpoints can be read; train anew in another "
            f"run directory, or bring back a copy ({damaged[0][0]})"
        )
    return 0


def saved_steps(folder: Path) -> list[int]:
    """The steps whose checkpoints are in a folder, newest first; whether whole is not known."""
    names = map(_INDEX.fullmatch, (path.name for path in folder.glob("step-*.index")))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _damage(prefix: Path) -> str:
    """Why a checkpoint cannot be read; "" where every checksum is right."""
    try:
        with parsing("damaged"):
            reader = tf.train.load_checkpoint(str(prefix))
            for name in reader.get_variable_to_dtype_map():
                reader.get_tensor(name)
    except InputError as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """The first line of what TensorFlow says, without the names of its ops."""
    return re.sub(r"\{\{.*?\}\} ?| \[Op:\w+\]", "", str(error)).strip().splitlines()[0]
