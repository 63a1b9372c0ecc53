"""Training from records and a config to a finished run directory."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from attr_extractor import files, made_from, storage, working_copy
from attr_extractor.config import Config
from attr_extractor.errors import InputError, one_line, require_file
from attr_extractor.model import network
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.model.trunks import trunk
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import require_same
from attr_extractor.training import features, schedule, strategy, teacher, tracking
from attr_extractor.training.average import ValidateAverage
from attr_extractor.training.callbacks import Progress, StopAtNaN
from attr_extractor.training.checkpoints import Checkpoints, newest_step
from attr_extractor.training.features import Frozen
from attr_extractor.training.figures import StepFigures
from attr_extractor.training.loop import Loop
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.run_dir import CHECKPOINTS, RunDir
from attr_extractor.training.step import TrainingModel, augmented_on_host
from attr_extractor.training.strategy import Devices
from attr_extractor.training.tensorboard import TensorBoard, write_projector
from attr_extractor.training.tracking import Tracker
from attr_extractor.working_copy import OwnedCopy

MakeProgress = Callable[[int, int, int, bool], Progress]


def train(
    config: Config,
    records: str | Path,
    run_dir: str | Path,
    make_progress: MakeProgress = Progress,
) -> RunDir:
    """Train, or resume an interrupted run of the same config and records.

    The weights come from the first source that applies:
      1. the newest checkpoint of this run directory;
      2. another run's weights (`train.init_from`), all of them;
      3. the trunk's pretrained weights (`model.weights`), with random branches;
      4. random numbers from `train.seed`.

    A run has phases, each with photos of one size. Each phase starts like a resumed run, from the
    last checkpoint of the previous phase.

    Raises:
      InputError: if config, records and run directory cannot be used together, or the tracker
        cannot be opened.
      TemporaryError: if another program writes to the run directory, a peer worker dies, or the
        tracker fails.
    """
    tracking.require_library(config)
    devices = strategy.make(config)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
        # keras-cv's layers require a generator; nothing is drawn from it
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    manifest = Manifest.read(records)
    steps = dataset.steps_per_epoch(manifest, config.data)
    if not (manifest.present("train").any() or manifest.has_soft_labels("train")):
        raise InputError(f"{records}: no photo of the training split has a known value")
    if config.model.context.text and not manifest.schema.text:
        raise InputError(
            f"{records}: model.context.text: true, but their schema names no text column; name "
            "columns in its `text` and run attr-extractor build --relabel"
        )
    phases = schedule.phases(config, steps)
    # fails now, not hours later
    trunk.require_sizes(config.model, [phase.image_size for phase in phases])
    if config.train.init_from:
        _weights_of(config.train.init_from, manifest)
    teacher.require_usable(config, manifest.schema)
    config, source = settled(config)
    warning = strategy.precision_warning(config.train.precision)
    if warning and devices.is_chief:
        print(warning, file=sys.stderr)
    with _shared(run_dir, devices) as shared:
        with devices.together():
            run = _open(shared, config, records, manifest, devices)
        with tracking.training(run) if devices.is_chief else tracking.untracked() as tracker:
            with devices.together():
                trained = frozen = None
                if config.train.features != "none":
                    whole = network_of_features(config, manifest)
                    frozen = features.compute(records, manifest, config, whole)
                for phase in phases:
                    keras.backend.clear_session()  # frees the previous phase's network
                    run = replace(run, path=shared.now(without="logs"))
                    with devices.strategy.scope():
                        trained = _run_phase(
                            run, manifest, devices, phase, steps, make_progress, frozen, tracker
                        )
            if trained is not None and devices.is_chief:
                _finish(run, manifest, trained, steps, source)
    is_copy = devices.is_chief and storage.is_remote(run_dir)  # which is gone
    return RunDir.read(run_dir) if is_copy else run


def settled(config: Config) -> tuple[Config, dict[str, str]]:
    """Return the config with the style and pixels of the initial weights, and their source.

    Raises:
      InputError: if the weights file cannot be loaded, or the run in `init_from` has another style
        or other pixels.
    """
    model, init_from = config.model, config.train.init_from
    if not init_from:
        model, source = trunk.settled(model)
        return config.model_copy(update={"model": model}), source._asdict() if source else {}
    run = RunDir.read(init_from)
    for key in ("style", "pixels"):
        own, other = getattr(model, key), getattr(run.config.model, key)
        if own and own != other:
            raise InputError(
                f"model.{key}: {own}, but {init_from} has {other or 'that of Keras'}; leave it out"
            )
        model = model.model_copy(update={key: other})
    return config.model_copy(update={"model": model}), run.trunk_weights


@dataclass(frozen=True)
class _SharedFolder:
    """The run directory, which the chief owns and the other workers read."""

    address: str | Path
    devices: Devices
    owned: OwnedCopy | None  # by the chief

    def now(self, without: str = "") -> Path:
        """Return the folder on this worker's disk, with all that the chief has written by now.

        All workers must call it together.

        Args:
          without: a folder within it that the other workers do not need from a bucket.
        """
        if self.owned is not None and self.devices.workers == 1:
            return self.owned.folder  # nobody waits for an upload
        if self.owned is None:
            self.devices.total(1)
            folder = working_copy.folder(self.address, without)
            self.devices.total(1)
            return folder
        with self.owned.settled():
            self.devices.total(1)
            self.devices.total(1)  # the others have read it
        return self.owned.folder


@contextlib.contextmanager
def _shared(run_dir: str | Path, devices: Devices) -> Iterator[_SharedFolder]:
    if not devices.is_chief:
        yield _SharedFolder(run_dir, devices, None)
        return
    with working_copy.owned_copy(run_dir, "the run directory") as owned:
        yield _SharedFolder(run_dir, devices, owned)


def _open(
    shared: _SharedFolder,
    config: Config,
    records: str | Path,
    manifest: Manifest,
    devices: Devices,
) -> RunDir:
    """Open the run directory, which the chief creates and all workers share."""
    if shared.owned is not None:
        run = RunDir.create(shared.owned.folder, config, records, manifest)
        trunk.keep_architecture(config.model, config.data.image_size, run.trunk)
        shared.now()
        return run
    path = shared.now(without=CHECKPOINTS)
    if not (path / "config.yaml").is_file():
        raise InputError(
            f"{path}: the chief has created this run directory, but worker {devices.worker} cannot "
            "see it; all workers need a shared file system"
        )
    return RunDir.create(path, config, records, manifest)


def make_model(
    config: Config,
    manifest: Manifest,
    steps_per_epoch: int,
    image_size: int | None = None,
    augments: bool = True,
    frozen: Frozen | None = None,
) -> TrainingModel:
    """Return a compiled model with the initial weights of a run.

    Args:
      image_size: pixels, replaces the config's.
      augments: see `TrainingModel`.
      frozen: features to train the layers after the trunk on, instead of photos.
    """
    schema, precision = manifest.schema, config.train.precision
    if frozen is None:
        built = _initial_network(config, manifest, image_size, precision)
    else:
        built = frozen.head(schema, config, precision)
    model = TrainingModel(
        built,
        schema,
        config,
        manifest.present("train"),
        manifest.frequencies("train"),
        augments and frozen is None,
        teacher.load(config, schema),
    )
    model.compile(
        optimizer=schedule.make_optimizer(config.train, steps_per_epoch, built),
        jit_compile=False,  # the step itself compiles what can be compiled
    )
    return model


def network_of_features(config: Config, manifest: Manifest) -> network.Network:
    """Build the network with the initial weights of a run, whose trunk computes features.

    Args:
      config: see `settled`.
    """
    # XLA's loops are faster in training only
    plain = config.train.model_copy(update={"xla": "off"})
    return _initial_network(config.model_copy(update={"train": plain}), manifest)


def _initial_network(
    config: Config,
    manifest: Manifest,
    image_size: int | None = None,
    precision: str = "float32",
) -> network.Network:
    """Build the network with the initial weights of a run."""
    keras.utils.set_random_seed(config.train.seed)
    frequencies = manifest.frequencies("train")
    initial = config
    if config.train.init_from:  # replaces all weights: those of the trunk need not exist
        model = config.model.model_copy(update={"weights": "none"})
        initial = config.model_copy(update={"model": model})
    built = network.build(manifest.schema, initial, frequencies, image_size, precision=precision)
    if config.train.init_from:
        arrays = files.read_arrays(_weights_of(config.train.init_from, manifest))
        network.set_layer_arrays(built.trained, arrays, config.train.init_from)
    return built


def _weights_of(init_from: str, manifest: Manifest) -> Path:
    """Return the weights file of the run to start from; its schema must be the records'."""
    run = RunDir.read(init_from)
    require_same(run.schema.fingerprint, manifest.schema, init_from)
    return require_file(run.path / "weights.npz", "the weights to start from (is it trained?)")


class Trained(NamedTuple):
    """Result of a run."""

    arrays: dict[str, np.ndarray]  # of `network.layer_arrays`
    which: str  # which of the run's weights they are
    score: float | None  # their validation score, if they were selected by it
    seconds: float


def _run_phase(
    run: RunDir,
    manifest: Manifest,
    devices: Devices,
    phase: schedule.Phase,
    steps: int,
    make_progress: MakeProgress,
    frozen: Frozen | None,
    tracker: Tracker,
) -> Trained | None:
    """Train one phase; the last phase returns the result of the run, unless already finished."""
    config, records = run.config, run.records
    # the last phase does not need this check: `restore` reads the checkpoint anyway
    newest = partial(newest_step, run.path / CHECKPOINTS, reports=devices.is_chief)
    if not phase.is_last and newest() >= phase.end_step:
        return None
    augments, stored = not devices.augments_on_host, frozen.files if frozen else None
    model = make_model(config, manifest, steps, phase.image_size, augments, frozen)
    figures = StepFigures(devices.workers)
    stop = StopAtNaN(records, manifest, config, figures)
    checkpoints = Checkpoints(
        run, model, devices, steps, model.arrays, stop, phase.is_last, average=model.average
    )
    start_step, total_steps = checkpoints.restore(), config.train.epochs * steps
    if start_step > phase.first_step and devices.is_chief:
        print(f"resuming from step {start_step} of {total_steps}")
    if start_step == total_steps and (run.path / "weights.npz").is_file():
        return None
    if phase.trunk_frozen:
        model.freeze_trunk()
    data = config.data.model_copy(update={"image_size": phase.image_size})
    validation, photos = None, manifest.splits["validation"].photos
    # a distributed dataset has no length: use that of the worker with the most photos
    most, batch = math.ceil(photos / devices.workers), data.batch_size // devices.workers
    validation_steps = math.ceil(most / batch)
    if photos:
        validation = devices.batches(
            lambda share: dataset.evaluation_batches(
                records, manifest, data, "validation", share, features=stored
            )
        )
    loop = Loop(model, figures)
    # A run that was interrupted within an epoch finishes that epoch in a separate call of `fit`.
    for first, last, epoch_steps in _stretches(start_step, phase.end_step, steps):
        step = steps_done(model.optimizer)
        whole = partial(
            dataset.training_batches,
            *(records, manifest, data, config.train.seed, step),
            features=stored,
        )
        training = devices.batches(whole)
        if devices.augments_on_host:
            training = augmented_on_host(training, config, step)
        progress = make_progress(total_steps, step, data.batch_size, devices.is_chief)
        with dataset.readable(records), contextlib.closing(progress):
            loop.fit(
                training,
                epochs=range(first, last),
                steps=epoch_steps,
                validation=validation,
                validation_steps=validation_steps,
                callbacks=[
                    ValidateAverage(),
                    progress,
                    stop,
                    TensorBoard(run, whole(), devices, tracker),
                    checkpoints,
                ],
            )
    if not phase.is_last:
        return None
    # decided alike by all workers: reading the model's arrays takes all of them, and only the chief
    # has the file of the best ones
    has_best = config.train.keep == "best" and np.isfinite(checkpoints.best_score)
    score, arrays = (checkpoints.best() or (None, {})) if has_best else (None, model.arrays())
    if frozen is not None:
        arrays = {**frozen.arrays, **arrays}
    which = "best validation score" if has_best else "last step"
    which += ", moving average" if config.train.average else ""
    return Trained(arrays, which, score, float(tf.convert_to_tensor(checkpoints.seconds)))


def _stretches(start_step: int, end_step: int, steps: int) -> list[tuple[int, int, int]]:
    """Return (first epoch, end epoch, steps per epoch) of each remaining call of `fit`."""
    epoch, done = divmod(start_step, steps)
    stretches = [(epoch, epoch + 1, steps - done)] if done else []
    first_whole, end = epoch + bool(done), end_step // steps
    if first_whole < end:
        stretches.append((first_whole, end, steps))
    return stretches


def _finish(
    run: RunDir,
    manifest: Manifest,
    trained: Trained,
    steps_per_epoch: int,
    source: dict[str, str],
) -> None:
    """Write weights.npz, the last file of a run, and its description into metrics.json.

    If the run was trained before, calibrations and metrics of other weights are removed.
    """
    config, digest = run.config, made_from.weights_digest(trained.arrays)
    before = run.thresholds()
    if before.calibrated and before.weights != digest:
        told = (
            f"{run.path}/thresholds.json: was calibrated on other weights; reset to the schema's "
            "thresholds, run attr-extractor calibrate to calibrate again"
        )
        print(one_line(told))
        fresh = Thresholds.of_schema(run.schema)
        files.write_json(run.path / "thresholds.json", fresh.model_dump())
    photos = config.train.epochs * steps_per_epoch * config.data.batch_size
    built = run.network_of(trained.arrays, "weights.npz")
    run.update_metrics(
        "training",
        {
            "weights": trained.which,
            "weights_digest": digest,
            "trunk_weights": source or None,
            "best_validation_score": trained.score,
            "epochs": config.train.epochs,
            # including tracing and validation, over all restarts
            "seconds": round(trained.seconds, 1),
            "images_per_second": round(photos / trained.seconds, 1),
            "parameters": int(built.trained.count_params()),
            "tensorflow": tf.__version__,
            "hardware": strategy.describe_hardware(),
        },
    )
    if manifest.splits["validation"].photos:
        batches = dataset.evaluation_batches(run.records, manifest, config.data, "validation")
        write_projector(run.path / "logs" / "validation", built.logits, batches, run.schema)
    files.write_arrays(run.path / "weights.npz", trained.arrays)
