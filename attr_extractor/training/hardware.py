"""Description of the training hardware, for metrics.json and the model card."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path

import tensorflow as tf


def describe() -> str:
    """Return the names of the accelerators that TensorFlow sees, and the processor's cores."""
    cores = f"{os.cpu_count()} CPU cores ({_processor()})"
    names: Counter[str] = Counter()
    for device in tf.config.list_physical_devices():
        if device.device_type != "CPU":
            details = tf.config.experimental.get_device_details(device)
            names[details.get("device_name", device.device_type)] += 1
    return ", ".join([*(f"{count} x {name}" for name, count in names.items()), cores])


def warning(precision: str) -> str | None:
    """Return a warning if this processor only emulates a precision, else None.

    Args:
      precision: value of `train.precision`.
    """
    has_gpu = any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
    flags = set(_told("flags").split())
    if precision == "float32" or has_gpu or not flags or flags & {"avx512_bf16", "amx_bf16"}:
        return None
    return "this CPU emulates bfloat16: --set train.precision=float32 trains faster on it"


def _processor() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _told(key: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; empty on systems without it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
