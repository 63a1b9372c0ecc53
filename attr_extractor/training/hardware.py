"""What a run was trained on, in words, for metrics.json and the model card."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path

import tensorflow as tf


def describe() -> str:
    """The accelerators that TensorFlow sees by name, else the processor; and its cores."""
    cores = f"{os.cpu_count()} CPU cores ({_processor()})"
    names: Counter[str] = Counter()
    for device in tf.config.list_physical_devices():
        if device.device_type != "CPU":
            details = tf.config.experimental.get_device_details(device)
            names[details.get("device_name", device.device_type)] += 1
    return ", ".join([*(f"{count} x {name}" for name, count in names.items()), cores])


def _processor() -> str:
    """Linux tells the model of the processor in a file alone."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
