"""On which devices a run trains: tf.distribute, by the config's names.

One device and many give the same loss and weights for the same global batch, up to float error:
equation 1 divides by the samples of all replicas, and batch normalisation is synchronised. Noise
differs from replica to replica.
"""

from __future__ import annotations

import json
import os
from typing import Any

import keras
import tensorflow as tf

from attr_extractor.errors import InputError


def make(name: str) -> tf.distribute.Strategy:
    """The strategy of `train.strategy`; to be made before anything else of TensorFlow runs.

    Args:
      name: `one_device`; `mirrored`, over the GPUs of this machine, or its logical CPUs where there
        is none; `multi_worker`, over the machines in the environment's TF_CONFIG; `tpu`, over the
        TPU that the environment names.

    Raises:
      InputError: such devices are not there, or not for this TensorFlow.
    """
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
    if name == "multi_worker":
        _require_workers()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        except (ValueError, tf.errors.OpError) as error:
            raise InputError(f"train.strategy: tpu: there is none: {error}") from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process writes the run directory: one of several workers does."""
    task = _cluster().get("task", {})
    return task.get("index", 0) == 0 and task.get("type", "worker") in ("worker", "chief")


def _require_workers() -> None:
    if not keras.__version__.startswith("2."):
        raise InputError(
            "train.strategy: multi_worker needs TensorFlow 2.15 with Keras 2 (Python 3.9 to 3.11); "
            f"this is Keras {keras.__version__}: use mirrored"
        )
    if len(_cluster().get("cluster", {}).get("worker", [])) < 2:
        raise InputError(
            "train.strategy: multi_worker needs TF_CONFIG in the environment of every worker, with "
            "at least two addresses under cluster.worker and this one's task"
        )


def _cluster() -> dict[str, Any]:
    try:
        return json.loads(os.environ.get("TF_CONFIG", "{}"))
    except json.JSONDecodeError as error:
        raise InputError(f"TF_CONFIG: not JSON: {error}") from error
