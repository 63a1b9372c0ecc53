"""Checkpoints of a run and its best weights: written atomically, and skipped if damaged."""

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
from attr_extractor.errors import InputError, one_line, parsing
from attr_extractor.training.callbacks import StopAtNaN
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.run_dir import CHECKPOINTS, RunDir
from attr_extractor.training.strategy import Devices

KEPT = 2
ASKED_EVERY = 20  # steps between checks whether a save is due: the check sums over all workers
SCORE = "validation score"  # its key among the arrays in best.npz
_INDEX = re.compile(r"step-([1-9][0-9]{0,17})\.index")


class Checkpoints(keras.callbacks.Callback):
    """Callback that saves the run every few minutes and at each epoch's end, and the best weights.

    Args:
      arrays: returns the arrays to save if a validation score is the best so far.
      stop: verifies before each save that losses and weights are finite.
      keep_best: whether scores count; they do not in phases with smaller photos.
      tracked: further objects of the run's state, by name; None for absent ones.
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
        self.folder = run.path / CHECKPOINTS
        self._scratch = tempfile.TemporaryDirectory() if not devices.is_chief else None
        self.best_path = self.folder / "best.npz"
        best = self.best()
        self.best_score = -np.inf if best is None else best[0]
        self.seconds_between_saves = 60.0 * run.config.train.checkpoint_minutes
        self.last_saved = self.counted_to = time.monotonic()
        self.optimizer = model.optimizer
        self.checkpoint = tf.train.Checkpoint(
            network=model.network,
            optimizer=model.optimizer,
            seconds=self.seconds,
            **{name: value for name, value in tracked.items() if value is not None},
        )
        self.whole: list[int] = []  # steps of the checkpoints known to be intact, oldest first

    def restore(self) -> int:
        """Load the newest readable checkpoint, if any; return the step to resume from.

        Raises:
          InputError: see `newest_step`; or if the workers find different steps, or the checkpoint
            does not match the config.
        """
        step = newest_step(self.folder, reports=self.devices.is_chief)
        if self.devices.total(step) != step * self.devices.workers:
            raise InputError(
                f"{self.folder}: the newest step of worker {self.devices.worker} is {step}, that "
                "of other workers differs; all workers need a shared file system"
            )
        if step:
            path = self.folder / f"step-{step}"
            with parsing(f"{path}: not a checkpoint of this config"):
                self.checkpoint.read(str(path)).assert_existing_objects_matched()
            self.whole = [step]
        return step

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.step = steps_done(self.optimizer)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1  # counted here: reading the optimizer's counter waits for the device
        # not at an epoch's last step: a run resumed from there would skip its validation
        within_epoch = self.step % self.steps_per_epoch
        if within_epoch and self._is_due(within_epoch):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        score = (logs or {}).get("val_score")
        if self.keep_best and score is not None and score > self.best_score:
            self.stop.require_finite()
            arrays = {**self.arrays(), SCORE: np.array(score)}
            if self.devices.is_chief:
                files.write_arrays(self.best_path, arrays)
            self.best_score = score
        self._save()

    def best(self) -> tuple[float, dict[str, np.ndarray]] | None:
        """Return the best validation score so far and its weights, stored in one file to agree."""
        return read_best(self.best_path)

    def _is_due(self, step: int) -> bool:
        """Return whether the chief's clock makes a save due; all workers must call it together."""
        due = time.monotonic() - self.last_saved > self.seconds_between_saves
        if self.devices.workers == 1:
            return due
        return not step % ASKED_EVERY and bool(self.devices.total(due and self.devices.is_chief))

    def _save(self) -> None:
        self.stop.require_finite()
        now = time.monotonic()
        self.seconds.assign_add(now - self.counted_to)
        self.counted_to = now
        step = steps_done(self.optimizer)
        try:
            self.checkpoint.write(self._prefix(step))
        except tf.errors.OpError as error:
            self._sweep()
            kept = f"that of step {self.whole[-1]} is kept" if self.whole else "none exists yet"
            raise InputError(
                f"{self._prefix(step)}: the checkpoint cannot be written: "
                f"{_reason(error).rpartition('; ')[2]} ({kept}); free some disk space and rerun "
                "the command"
            ) from error
        self.whole = [*self.whole, step][-KEPT:]
        self._sweep()
        self.last_saved = time.monotonic()

    def _sweep(self) -> None:
        """Remove older and damaged checkpoints, and files of an interrupted or failed save."""
        kept = {f"step-{step}" for step in self.whole}
        for path in self._own_folder.glob("*step-*"):
            if path.name.partition(".")[0] not in kept:
                storage.remove(path)

    @property
    def _own_folder(self) -> Path:
        """Folder of this worker; all workers must write, because they read variables together."""
        return Path(self._scratch.name) if self._scratch else self.folder

    def _prefix(self, step: int) -> str:
        return str(self._own_folder / f"step-{step}")


def read_best(path: Path) -> tuple[float, dict[str, np.ndarray]] | None:
    """Return the score and the weights in best.npz, or None if it does not exist yet.

    Raises:
      InputError: if it is damaged.
    """
    if not path.is_file():
        return None
    arrays = files.read_arrays(path)
    if SCORE not in arrays or arrays[SCORE].shape:
        raise InputError(f"{path}: not the best weights of a run: {SCORE} is missing")
    return float(arrays.pop(SCORE)), arrays


def newest_step(folder: Path, reports: bool = True) -> int:
    """Return the step of the newest readable checkpoint, or 0 if there are no checkpoints.

    Newer unreadable checkpoints are reported on stderr and renamed; the next save removes them.

    Args:
      reports: whether to report and rename; False if another process does so.

    Raises:
      InputError: if there are checkpoints, and none can be read.
    """
    damaged: list[tuple[str, list[Path]]] = []
    for step in saved_steps(folder):
        reason = _damage(folder / f"step-{step}")
        if not reason:
            for line, paths in damaged if reports else ():
                print(one_line(f"{line}; falling back to step {step}"), file=sys.stderr)
                for path in paths:
                    path.rename(path.with_name(f"damaged-{path.name}"))
            return step
        damaged.append((f"{folder}/step-{step}: {reason}", list(folder.glob(f"step-{step}.*"))))
    if damaged:
        raise InputError(
            f"{folder}: none of the {len(damaged)} checkpoints can be read; restore a copy, or "
            f"train in a new run directory ({damaged[0][0]})"
        )
    return 0


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, newest first; they may be damaged."""
    names = map(_INDEX.fullmatch, (path.name for path in folder.glob("step-*.index")))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _damage(prefix: Path) -> str:
    """Return why a checkpoint cannot be read, or "" if every checksum matches."""
    try:
        with parsing("damaged"):
            reader = tf.train.load_checkpoint(str(prefix))
            for name in reader.get_variable_to_dtype_map():
                reader.get_tensor(name)
    except InputError as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """Return the first line of a TensorFlow error, without the names of its ops."""
    return re.sub(r"\{\{.*?\}\} ?| \[Op:\w+\]", "", str(error)).strip().splitlines()[0]
