"""Gradients of the first batch on the devices of a config, for comparison between strategies.

As a program it runs in a process of its own, because devices are split before TensorFlow starts:

  python -m tests.training.device_gradients gradients|train CONFIG RECORDS OUT [SETTING ...]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.records import dataset
from attr_extractor.records.manifest import Manifest
from attr_extractor.training import fit, strategy
from attr_extractor.training.strategy import Devices


def split_cpu() -> None:
    """Make two logical devices of the CPU."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def gradients(devices: Devices, config: Config, records: Path) -> list[np.ndarray]:
    """Return N_t, the summed losses and the summed gradients of the first batch."""
    manifest = Manifest.read(records)
    with devices.strategy.scope():
        model = fit.make_model(config, manifest, 10)
    batches = devices.batches(
        partial(dataset.training_batches, records, manifest, config.data, 0, 0)
    )
    if devices.workers == 1:
        batches = devices.strategy.experimental_distribute_dataset(batches)

    def total(quantity: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, quantity)

    def of_replica(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        counts = total(model.equation_1.counts(batch["labels"]))
        seed = tf.constant([0, 0], tf.int64)
        pixels = tf.cast(batch["pixels"], tf.float32)
        sums, _, slopes = model._learn(pixels, batch["labels"], None, None, counts, seed)
        return [counts, total(sums), *map(total, slopes)]

    run = tf.function(lambda batch: devices.strategy.run(of_replica, args=(batch,)))
    results = run(next(iter(batches)))
    local = devices.strategy.experimental_local_results
    return [local(result)[0].numpy() for result in results]


def main(program: str, config_path: str, records: str, out: str, *settings: str) -> None:
    """Train a run, or write the gradients of the first batch to an npz file."""
    config = Config.read(config_path, settings)
    if config.train.strategy == "mirrored":
        split_cpu()
    if program == "train":
        fit.train(config, records, out)
        return
    devices = strategy.make(config)
    arrays = gradients(devices, config, Path(records))
    if devices.is_chief:
        np.savez(out, *arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
