"""Benchmark of the input pipeline against bare decoding and two common recipes.

All pipelines run in turn, round after round, because timings are noisy; a ratio compares two passes
of the same round. Photos and shards are in the system's file cache after the first round. The rows:

- bare decoding: JPEG bytes held in memory -> step (b), in parallel -> batches. This is the upper
  limit of the cores.
- this pipeline: `training_batches` over the shards, from the middle of an epoch, so that a pass
  also reads the next run of photos.
- without labels: the same order and batches, but only the photo is parsed.
- reading alone: the bytes of the shards, checksums included, undecoded.
- plain tf.data: TFRecordDataset -> parse_single_example, tf.io.decode_jpeg and tf.image.resize with
  default arguments (float32 pixels, not antialiased) -> shuffle -> batch -> prefetch. Its order
  cannot be resumed at a step.
- Keras folder: keras.utils.image_dataset_from_directory over the same photos as files; no labels.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from attr_extractor import storage
from attr_extractor.config import DataConfig
from attr_extractor.records import dataset, example, pixels
from attr_extractor.records.manifest import Manifest

BARE, OURS, WITHOUT_LABELS, READING = (
    "bare decoding",
    "this pipeline",
    "this pipeline without labels",
    "reading alone",
)
WARMUP = 10  # batches before each pass, to consume prefetched ones
PLAIN_SHUFFLE = 1000  # decoded photos: 600 MB at 224 pixels
ENOUGH = 0.9  # of bare decoding


@dataclass(frozen=True)
class Row:
    """One row of the results table."""

    name: str
    images_per_second: float  # median over the rounds
    of_bare: float  # median over the rounds of the ratio to bare decoding in that round
    cpu_ms: float  # of all threads, per photo; less sensitive to other load than wall time


def measure(
    records: str | Path, data: DataConfig, steps: int = 200, rounds: int = 7, seed: int = 0
) -> list[Row]:
    """Measure passes of `steps` batches through every pipeline, in turn; see the module docstring.

    Raises:
      InputError: if the records are invalid, or have less than one batch of training photos.
    """
    with tempfile.TemporaryDirectory() as folder:
        batches = pipelines(records, data, steps, seed, Path(folder))
        seconds = np.zeros([rounds, len(batches), 2])  # wall clock and CPU
        for turn in tqdm(range(rounds), desc="measuring", unit="round"):
            for row, each in enumerate(batches.values()):
                seconds[turn, row] = _time(each, steps)
    photos = steps * data.batch_size
    wall, cpu = np.moveaxis(seconds, -1, 0)  # [rounds, rows] each
    return [
        Row(*row)
        for row in zip(
            batches,
            photos / np.median(wall, axis=0),
            np.median(wall[:, :1] / wall, axis=0),
            1000 * np.median(cpu, axis=0) / photos,
        )
    ]


def pipelines(
    records: str | Path, data: DataConfig, steps: int, seed: int, folder: Path
) -> dict[str, tf.data.Dataset]:
    """Return endless batches of every pipeline, by row name.

    Args:
      steps: number of batches whose photos are held in memory and written as files; at most all.
      folder: an empty folder for the files.
    """
    manifest = Manifest.read(records)
    num_values = manifest.schema.num_values
    size, batch_size = data.image_size, data.batch_size
    middle = dataset.steps_per_epoch(manifest, data) // 2
    paths = [storage.join(records, shard.name) for shard in manifest.split("train").shards]
    shards = tf.data.TFRecordDataset(paths)
    some = shards.take(steps * batch_size).map(example.parse).as_numpy_iterator()
    encoded = [features["image/encoded"] for features in some]
    for number, photo in enumerate(encoded):
        (folder / f"{number:06d}.jpg").write_bytes(photo)

    def decode(photo: tf.Tensor) -> tf.Tensor:
        return pixels.from_stored(photo, size, data.square)

    def decode_only(serialized: tf.Tensor) -> tf.Tensor:
        return decode(example.parse(serialized, ["image/encoded"])["image/encoded"])

    def read_plainly(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.io.parse_single_example(serialized, example.FEATURES)
        photo = tf.io.decode_jpeg(features["image/encoded"], channels=3)
        labels = example.decode_labels(features["labels"], num_values)
        return tf.image.resize(photo, [size, size]), labels

    ordered = dataset.training_examples(records, manifest, data, seed, middle)
    plain = _map(shards.repeat(), read_plainly).shuffle(PLAIN_SHUFFLE, seed=seed)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the number of files
        files = keras.utils.image_dataset_from_directory(
            folder, labels=None, image_size=(size, size), batch_size=batch_size, seed=seed
        )
    in_memory = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    return {
        BARE: _map(in_memory, decode).batch(batch_size),
        OURS: dataset.training_batches(records, manifest, data, seed, middle),
        WITHOUT_LABELS: _map(ordered, decode_only).batch(batch_size).prefetch(tf.data.AUTOTUNE),
        READING: shards.repeat().batch(batch_size),
        "plain tf.data recipe": plain.batch(batch_size).prefetch(tf.data.AUTOTUNE),
        "Keras image_dataset_from_directory": files.repeat(),
    }


def table(rows: Iterable[Row]) -> str:
    """Format the rows as text; the last line names the bottleneck."""
    by_name = {row.name: row for row in rows}
    lines = [f"{'':36}{'images/s':>10}{'of bare':>10}{'CPU ms per photo':>18}"]
    for row in by_name.values():
        speed = f"{row.images_per_second:10,.0f}{row.of_bare:10.1%}"
        lines.append(f"{row.name:36}{speed}{row.cpu_ms:18.3f}")
    bare, ours, reading = by_name[BARE], by_name[OURS], by_name[READING]
    labels = 1 - by_name[WITHOUT_LABELS].cpu_ms / ours.cpu_ms  # wall time is too noisy
    costs = (
        f"{OURS} delivers {ours.of_bare:.1%} of bare decoding, labels cost {labels:.1%} CPU time"
    )
    if reading.images_per_second < bare.images_per_second:
        bottleneck = "reading the shards"
    elif ours.of_bare >= ENOUGH:
        bottleneck = "decoding and resizing the photos"
    else:
        bottleneck = "overhead of this pipeline beyond decoding"
    other = "the last two rows give different pixels: their resize is not antialiased"
    return "\n".join([*lines, other, f"bottleneck: {bottleneck}; {costs}"])


def _map(examples: tf.data.Dataset, call: Callable) -> tf.data.Dataset:
    return examples.map(call, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _time(endless: tf.data.Dataset, steps: int) -> tuple[float, float]:
    """Return the wall clock and CPU seconds of `steps` batches of a new iterator, after WARMUP."""
    batches = iter(endless)
    for _ in range(WARMUP):
        next(batches)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    return time.perf_counter() - wall, time.process_time() - cpu
