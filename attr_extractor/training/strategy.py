"""Devices and processes of a run: tf.distribute strategies by config name, and the hardware.

One device and many give the same loss and weights for the same global batch, up to float error:
equation 1 divides by the samples of all replicas, and batch normalisation is synchronised. Noise
differs between replicas, and Keras 2 multiplies the moving variances of one device by N / (N - 1).

In a run of several workers every process makes the same steps and the same reads of variables,
because these are sums over all workers; only the chief writes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.processor import cpu_info
from attr_extractor.records.dataset import WHOLE, Share

EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
# TensorFlow's errors for a lost peer: the connection ends, or its health check fails
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError)


@dataclass(frozen=True)
class Devices:
    """Devices of a run, and the index of this process among its workers."""

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1
    augments_on_host: bool = False  # if every op of a step needs an XLA kernel

    @property
    def is_chief(self) -> bool:
        """Return whether this process writes the files of the run."""
        return self.worker == 0

    def batches(self, make: Callable[[Share], tf.data.Dataset]) -> Any:
        """Return this worker's share of the batches, or all of them in a single process."""
        if self.workers == 1:
            return make(WHOLE)  # the loop splits it among the devices
        share = Share(self.worker, self.workers, self.strategy.num_replicas_in_sync)
        return self.strategy.distribute_datasets_from_function(lambda _: make(share))

    def total(self, number: int) -> int:
        """Sum a number over all workers; blocks until every worker has called it."""
        if self.workers == 1:
            return number
        replicas = self.strategy.num_replicas_in_sync // self.workers
        return int(self._total(tf.constant(number))) // replicas

    @tf.function
    def _total(self, number: tf.Tensor) -> tf.Tensor:
        of_replicas = self.strategy.run(tf.identity, args=(number,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, of_replicas, axis=None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise TemporaryError, with a one-line message, if a peer worker dies or stops."""
        try:
            yield
        except LOST as error:
            if self.workers == 1:
                raise
            raise TemporaryError(
                f"another of the {self.workers} workers has stopped, worker {self.worker} stops "
                "too; rerun the command on all of them to resume from the last checkpoint"
            ) from error


def make(config: Config) -> Devices:
    """Return the devices of `train.strategy`; call it before any other TensorFlow code.

    `one_device` leaves the choice to TensorFlow; `mirrored` uses all GPUs of this machine, or its
    logical CPUs if there are none; `multi_worker` is one of the processes that TF_CONFIG lists;
    `tpu` uses the TPU of the environment variable TPU_NAME, or that of this machine.

    Raises:
      InputError: if the batch cannot be split equally among the devices, or the devices are not
        available.
    """
    devices = _MAKERS[config.train.strategy]()
    replicas = devices.strategy.num_replicas_in_sync
    if config.data.batch_size % replicas:
        raise InputError(
            f"data.batch_size: {config.data.batch_size} photos cannot be split equally among "
            f"{replicas} devices"
        )
    return devices


def _mirrored() -> Devices:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    return Devices(tf.distribute.MirroredStrategy(names))


def _multi_worker() -> Devices:
    worker, workers = _from_tf_config(os.environ.get("TF_CONFIG", ""))
    if worker == 0:
        print(f"chief of {workers} workers; training starts when all have started", file=sys.stderr)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise InputError(f"TF_CONFIG: cannot connect the workers: {error}") from error
    return Devices(strategy, worker, workers)


def _from_tf_config(text: str) -> tuple[int, int]:
    """Return (this worker's index, the number of workers) from TensorFlow's TF_CONFIG."""
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        # a cluster may name its first worker "chief"; it then precedes the others
        sizes = {kind: len(cluster.get(kind, [])) for kind in ("chief", "worker")}
        order = [(kind, i) for kind, size in sizes.items() for i in range(size)]
        return order.index((task["type"], int(task["index"]))), len(order)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"train.strategy: multi_worker needs the environment variable TF_CONFIG, for example "
            f"{EXAMPLE}; it is {text or 'not set'!r}"
        ) from error


def _tpu() -> Devices:
    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"train.strategy: tpu: there is no TPU {name!r}: {reason}") from error
    return Devices(tf.distribute.TPUStrategy(resolver), augments_on_host=True)


_MAKERS = {
    "one_device": lambda: Devices(tf.distribute.get_strategy()),
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}


def describe_hardware() -> str:
    """Return the names of the accelerators that TensorFlow sees, and the processor's cores."""
    cores = f"{os.cpu_count()} CPU cores ({_processor()})"
    names: Counter[str] = Counter()
    for device in tf.config.list_physical_devices():
        if device.device_type != "CPU":
            details = tf.config.experimental.get_device_details(device)
            names[details.get("device_name", device.device_type)] += 1
    return ", ".join([*(f"{count} x {name}" for name, count in names.items()), cores])


def precision_warning(precision: str) -> str | None:
    """Return a warning if this processor only emulates a precision, else None.

    Args:
      precision: value of `train.precision`.
    """
    has_gpu = any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
    flags = set(cpu_info("flags").split())
    if precision == "float32" or has_gpu or not flags or flags & {"avx512_bf16", "amx_bf16"}:
        return None
    return "this CPU emulates bfloat16: --set train.precision=float32 trains faster on it"


def _processor() -> str:
    return cpu_info("model name") or platform.processor() or platform.machine()
