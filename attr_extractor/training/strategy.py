"""On which devices a run trains: tf.distribute, by the config's names.

One device and many give the same loss and weights for the same global batch, up to float error:
equation 1 divides by the samples of all replicas, and batch normalisation is synchronised. Noise
differs from replica to replica.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError


def make(config: Config) -> tf.distribute.Strategy:
    """The strategy of `train.strategy`.

    `one_device` leaves the choice to TensorFlow; `mirrored` takes all GPUs of this machine, or its
    logical CPUs where there is none.

    Raises:
      InputError: the batch cannot be shared equally among the devices.
    """
    if config.train.strategy == "one_device":
        return tf.distribute.get_strategy()
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if config.data.batch_size % len(devices):
        raise InputError(
            f"data.batch_size: {config.data.batch_size} photos cannot be shared equally among "
            f"{len(devices)} devices"
        )
    return tf.distribute.MirroredStrategy(devices)
