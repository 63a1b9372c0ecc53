"""Training, from records and a config to a finished run directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import projector, schedule, strategy
from attr_extractor.training.average import ValidateAverage
from attr_extractor.training.checkpoints import Checkpoints, newest_step
from attr_extractor.training.nan_stop import StopAtNaN
from attr_extractor.training.optimizer import steps_done
from attr_extractor.training.progress import Progress
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.step import TrainingModel
from attr_extractor.training.tensorboard import TensorBoard


def train(
    config: Config,
    records: str | Path,
    run_dir: str | Path,
    make_progress: Callable[[int, int, int], Progress] = Progress,
) -> RunDir:
    """Trains, or goes on with an interrupted run of the same config and records.

    Where the weights come from, first that applies:
      1. the newest checkpoint of this run directory;
      2. the trunk's pretrained weights (`model.weights`), branches fresh;
      3. random numbers from `train.seed`.

    A run has phases, each with photos of one size; the next one begins as a restart would, with
    the checkpoint that the one before has left.

    Raises:
      InputError: config, records or run directory cannot be used together.
    """
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
        # keras-cv's layers want one at hand; nothing is drawn from it
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    devices = strategy.make(config)
    manifest = Manifest.read(records)
    steps = dataset.steps_per_epoch(manifest, config.data)
    if not manifest.present("train").any():
        raise InputError(f"{records}: no photo of the training split has a known value")
    run = RunDir.create(run_dir, config, Path(records), manifest)
    keras.mixed_precision.set_global_policy(config.train.precision)
    for phase in schedule.phases(config, steps):
        keras.backend.clear_session()  # frees the network of the phase before
        with devices.scope():
            _run_phase(run, manifest, phase, steps, make_progress)
    return run


def make_model(
    config: Config, manifest: Manifest, steps_per_epoch: int, image_size: int | None = None
) -> TrainingModel:
    """A model that is ready for `fit`, with the weights that a run begins with."""
    keras.utils.set_random_seed(config.train.seed)
    schema = manifest.schema
    built = network.build(schema, config, manifest.frequencies("train"), image_size)
    model = TrainingModel(built, schema, config, manifest.present("train"))
    model.compile(
        optimizer=schedule.make_optimizer(config.train, steps_per_epoch, built),
        jit_compile=False,  # the step compiles what can be compiled itself
    )
    return model


def _run_phase(
    run: RunDir,
    manifest: Manifest,
    phase: schedule.Phase,
    steps: int,
    make_progress: Callable[[int, int, int], Progress],
) -> None:
    config, records = run.config, run.records
    # the last phase need not ask: `restore` reads the checkpoint anyway
    if not phase.is_last and newest_step(run.path / "checkpoints") >= phase.end_step:
        return
    model = make_model(config, manifest, steps, phase.image_size)
    stop = StopAtNaN(records, manifest, config)
    checkpoints = Checkpoints(
        run, model, steps, model.arrays, stop, phase.is_last, average=model.average
    )
    start_step, total_steps = checkpoints.restore(), config.train.epochs * steps
    if start_step > phase.first_step:
        print(f"going on from step {start_step} of {total_steps}")
    if start_step == total_steps and (run.path / "weights.npz").is_file():
        return
    if phase.trunk_frozen:
        model.freeze_trunk()
    data = config.data.model_copy(update={"image_size": phase.image_size})
    validation = None
    if manifest.splits["validation"].photos:
        validation = dataset.evaluation_batches(records, manifest, data, "validation")
    # A run that was interrupted within an epoch finishes that epoch in a fit of its own.
    for first, last, epoch_steps in _stretches(start_step, phase.end_step, steps):
        step = steps_done(model.optimizer)
        training = dataset.training_batches(records, manifest, data, config.train.seed, step)
        progress = make_progress(total_steps, step, data.batch_size)
        with dataset.readable(records), contextlib.closing(progress):
            model.fit(
                training,
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=epoch_steps,
                validation_data=validation,
                shuffle=False,  # the dataset does it; Keras 3 warns of its own default
                verbose=0,
                callbacks=[
                    ValidateAverage(),
                    progress,
                    stop,
                    TensorBoard(run, training),
                    checkpoints,
                ],
            )
    if phase.is_last:
        _finish(run, model, checkpoints, total_steps, validation)


def _stretches(start_step: int, end_step: int, steps: int) -> list[tuple[int, int, int]]:
    """(first epoch, end epoch, steps per epoch) of each call of `fit` that is still to make."""
    epoch, done = divmod(start_step, steps)
    stretches = [(epoch, epoch + 1, steps - done)] if done else []
    first_whole, end = epoch + bool(done), end_step // steps
    if first_whole < end:
        stretches.append((first_whole, end, steps))
    return stretches


def _finish(
    run: RunDir, model: TrainingModel, checkpoints: Checkpoints, steps: int, validation: Any
) -> None:
    """Writes weights.npz, the last file of a run, and what it holds into metrics.json."""
    train = run.config.train
    best = checkpoints.best() if train.keep == "best" else None
    score, arrays = best or (None, model.arrays())
    which = "last step" if best is None else "best validation score"
    seconds = float(tf.convert_to_tensor(checkpoints.seconds))
    run.update_metrics(
        "training",
        {
            "weights": which + (", moving average" if train.average else ""),
            "best_validation_score": score,
            "epochs": train.epochs,
            "seconds": round(seconds, 1),  # tracing and validation included, over all restarts
            "images_per_second": round(steps * run.config.data.batch_size / seconds, 1),
            "parameters": int(model.network.count_params()),
            "tensorflow": tf.__version__,
        },
    )
    if validation is not None:
        network.set_layer_arrays(model.network, arrays, "weights.npz")
        projector.write(run.path / "logs" / "validation", model.network, validation, run.schema)
    files.write_arrays(run.path / "weights.npz", arrays)
