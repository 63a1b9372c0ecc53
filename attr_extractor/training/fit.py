"""Training, from records and a config to a finished run directory."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.model import network
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import callbacks, schedule
from attr_extractor.training.run_dir import RunDir
from attr_extractor.training.step import TrainingModel


def train(config: Config, records: str | Path, run_dir: str | Path) -> RunDir:
    """Trains, or goes on with an interrupted run of the same config and records.

    Where the weights come from, first that applies:
      1. the newest checkpoint of this run directory;
      2. the trunk's pretrained weights (`model.weights`), branches fresh;
      3. random numbers from `train.seed`.

    Raises:
      InputError: config, records or run directory cannot be used together.
    """
    manifest = Manifest.read(records)
    schema = manifest.schema
    steps = dataset.steps_per_epoch(manifest, config.data)

    run = RunDir.create(run_dir, config, Path(records), manifest)
    keras.mixed_precision.set_global_policy(config.train.precision)
    keras.utils.set_random_seed(config.train.seed)
    built = network.build(schema, config, manifest.frequencies("train"))
    model = TrainingModel(built, schema, config)
    model.compile(
        optimizer=schedule.make_optimizer(config.train, steps),
        jit_compile=False,  # the step compiles what can be compiled itself
    )
    model.optimizer.build(built.logits.trainable_variables)

    checkpoints = callbacks.Checkpoints(run, model, steps)
    start_step, total_steps = checkpoints.restore(), config.train.epochs * steps
    if start_step:
        print(f"going on from step {start_step} of {total_steps}")
    if start_step == total_steps and (run.path / "weights.npz").is_file():
        return run
    validation = None
    if manifest.splits["validation"].photos:
        validation = dataset.evaluation_batches(records, manifest, config.data, "validation")
    # A run that was interrupted within an epoch finishes that epoch in a fit of its own.
    for first, last, epoch_steps in _stretches(start_step, steps, config.train.epochs):
        step = int(model.optimizer.iterations)
        with dataset.readable(records):
            model.fit(
                dataset.training_batches(records, manifest, config.data, config.train.seed, step),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=epoch_steps,
                validation_data=validation,
                verbose=0,
                callbacks=[
                    callbacks.Progress(total_steps, step, config.data.batch_size),
                    callbacks.TensorBoard(run.path / "logs", schema.names),
                    checkpoints,
                ],
            )
    _finish(run, model, checkpoints, total_steps)
    return run


def _stretches(start_step: int, steps: int, epochs: int) -> list[tuple[int, int, int]]:
    """(first epoch, end epoch, steps per epoch) of each call of `fit` that is still to make."""
    epoch, done = divmod(start_step, steps)
    stretches = [(epoch, epoch + 1, steps - done)] if done else []
    first_whole = epoch + bool(done)
    if first_whole < epochs:
        stretches.append((first_whole, epochs, steps))
    return stretches


def _finish(
    run: RunDir, model: TrainingModel, checkpoints: callbacks.Checkpoints, steps: int
) -> None:
    """Writes weights.npz, the last file of a run, and what it holds into metrics.json."""
    train = run.config.train
    best = checkpoints.best() if train.keep == "best" else None
    score, arrays = best or (None, network.layer_arrays(model.network))
    seconds = float(checkpoints.seconds)
    run.update_metrics(
        "training",
        {
            "weights": "last step" if best is None else "best validation score",
            "best_validation_score": score,
            "epochs": train.epochs,
            "seconds": round(seconds, 1),  # tracing and validation included, over all restarts
            "images_per_second": round(steps * run.config.data.batch_size / seconds, 1),
            "parameters": int(model.network.count_params()),
            "tensorflow": tf.__version__,
        },
    )
    files.write_arrays(run.path / "weights.npz", arrays)
