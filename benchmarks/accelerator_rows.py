"""One measurement of `bench.py --what=accelerator`, in a process of its own.

  python -m benchmarks.accelerator_rows < JOB

JOB is JSON: `kind`, `config`, `schema` (YAML), `tf32`, `steps` and `records`. The last line of the
output is JSON too. Steps are sent to the device one after another and only the last one is waited
for, as in training.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attr_extractor import errors, files
from attr_extractor.config import Config
from attr_extractor.model import augmentation, network
from attr_extractor.model.augmentation import mixing
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.serving import export, model_dir
from attr_extractor.training import strategy
from attr_extractor.training.run_dir import RunDir
from benchmarks import loop_step, our_step, timing

SERVED = (1, 8, 32)  # batch sizes
_ROUNDS = 3

Figures = dict[str, Any]


def machine(job: Job) -> Figures:
    """Return what TensorFlow sees."""
    return {
        "accelerator": bool(tf.config.list_physical_devices("GPU")),
        "hardware": strategy.describe_hardware(),
        "tensorflow": tf.__version__,
        "keras": importlib.metadata.version("keras"),
    }


def step(job: Job) -> Figures:
    """Time the bare training step on one synthetic batch."""
    _, train_step = our_step.make_step(job.config, job.schema, job.steps)
    batches = iter(our_step.made_up_batches(job.config, job.schema).cache().repeat())
    start = time.perf_counter()
    _finish([train_step(batches)])
    first = time.perf_counter() - start
    _finish([train_step(batches) for _ in range(timing.WARMUP)])
    seconds = _seconds_per_step(lambda: train_step(batches), job.steps)
    return {
        "first_step_s": first,
        "step_s": seconds,
        "images_per_s": job.config.data.batch_size / seconds,
        "peak_gib": peak_memory(),
    }


def loop(job: Job) -> Figures:
    """Time the same step on synthetic batches, on records, and in the whole training loop."""
    config, steps, photos = job.config, job.steps, job.config.data.batch_size
    manifest = Manifest.read(job.records)
    _, train_step = our_step.make_step(config, manifest.schema, steps)
    made_up = iter(our_step.made_up_batches(config, manifest.schema).cache().repeat())
    stored = iter(dataset.training_batches(job.records, manifest, config.data, config.train.seed))
    _finish([train_step(made_up) for _ in range(1 + timing.WARMUP)])
    _finish([train_step(stored) for _ in range(timing.WARMUP)])
    seconds = np.array(
        [
            [
                _seconds_per_step(lambda: train_step(made_up), steps),
                _seconds_per_step(lambda: train_step(stored), steps),
                _seconds_of(lambda: [next(stored) for _ in range(steps)]) / steps,
            ]
            for _ in range(_ROUNDS)
        ]
    )
    bare, fed, read = np.median(seconds, axis=0)
    stall = 1 - np.median(seconds[:, 0] / seconds[:, 1])
    keras.backend.clear_session()
    times = loop_step.measure_loop(config, job.records, steps)
    whole = float(np.mean(times.seconds[1 + timing.WARMUP :]))
    return {
        "images_per_s": photos / bare,
        "fed_images_per_s": photos / fed,
        "input_images_per_s": photos / read,
        "input_stall": float(stall),
        "loop_images_per_s": photos / whole,
        "loop_of_bare": float(bare / whole),
        "loop_steps": len(times.seconds),
        "logged_steps": times.logged,
        "reads_per_other_step": times.other_reads / max(1, len(times.seconds) - times.logged),
    }


def augment(job: Job) -> Figures:
    """Time augmentation and mixing alone, on one batch that is on the device."""
    config = job.config
    pixels = tf.constant(timing.made_up_batch(config, job.schema)["pixels"])

    @tf.function
    def augmented(seed: tf.Tensor) -> tf.Tensor:
        photos = augmentation.augment(pixels, config.augmentation, seed, config.train.xla_loops)
        if not config.augmentation.mixup + config.augmentation.cutmix:
            return photos
        return mixing.mix(tf.cast(photos, tf.float32), config.augmentation, seed)[0]

    seeds = iter(range(10**9))

    def once() -> Figures:
        return {"loss": augmented(tf.constant([0, next(seeds)], tf.int64))[0, 0, 0, 0]}

    _finish([once() for _ in range(1 + timing.WARMUP)])
    seconds = _seconds_per_step(once, job.steps)
    return {"step_s": seconds, "images_per_s": config.data.batch_size / seconds}


def serve(job: Job) -> Figures:
    """Time calls of an exported, untrained model: JPEG files to answers, in this process."""
    size = job.config.data.image_size
    pixels = np.random.default_rng(0).integers(0, 256, [size, size, 3], np.uint8)
    photo = tf.io.encode_jpeg(pixels).numpy()
    with tempfile.TemporaryDirectory() as made:
        manifest = Manifest.read(job.records)
        run = RunDir.create(Path(made, "run"), job.config, Path(job.records), manifest)
        untrained = network.layer_arrays(network.build(manifest.schema, job.config).logits)
        files.write_arrays(run.path / "weights.npz", untrained)
        model = model_dir.load(export.export(run.path, Path(made, "model")))
        answer = model.signatures["serving_default"]
        figures: Figures = {}
        for rows in SERVED:
            photos = tf.constant([photo] * rows)

            def once(photos: tf.Tensor = photos) -> None:
                answer(photos)["error"].numpy()

            once()
            seconds = [_seconds_of(once) for _ in range(max(3, job.steps))]
            figures[f"batch_{rows}_median_ms"] = 1e3 * float(np.median(seconds))
            figures[f"batch_{rows}_longest_ms"] = 1e3 * max(seconds)
    return figures


KINDS: dict[str, Callable[[Job], Figures]] = {
    "machine": machine,
    "step": step,
    "largest": step,
    "loop": loop,
    "augment": augment,
    "serve": serve,
}


class Job:
    """What to measure."""

    def __init__(self, job: dict[str, Any]):
        self.kind: str = job["kind"]
        self.config = Config.model_validate_json(job["config"])
        self.schema = Schema.parse(job["schema"], "the schema")
        self.tf32: bool = job["tf32"]
        self.steps: int = job["steps"]
        self.records: str = job["records"]


def peak_memory() -> float:
    """Return the peak memory in GiB: of the first GPU, or of this process if there is none."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
    return timing.peak_memory()


def _finish(results: list[Figures]) -> None:
    """Wait for the last of some steps; its loss must be finite."""
    loss = float(results[-1]["loss"])
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")


def _seconds_per_step(call: Callable[[], Figures], steps: int) -> float:
    return _seconds_of(lambda: _finish([call() for _ in range(steps)])) / steps


def _seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Run the job on standard input."""
    job = Job(json.load(sys.stdin))
    tf.config.experimental.enable_tensor_float_32_execution(job.tf32)
    print(json.dumps(KINDS[job.kind](job)))


if __name__ == "__main__":
    errors.run_program(main)
