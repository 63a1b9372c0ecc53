"""Code shared by the contenders of `bench.py --what=step`: synthetic batch, timing, memory.

It imports no framework: PyTorch's process must not load TensorFlow as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attr_extractor.config import Config
from attr_extractor.schema import Schema

KERAS_TRUNK = "efficientnetb0"  # of the plain Keras model
TIMM_TRUNKS = {  # timm's names of our trunks
    "efficientnetb0": "efficientnet_b0",
    **{f"efficientnetlite{i}": f"tf_efficientnet_lite{i}" for i in range(3)},
}
WARMUP = 2  # steps after the first one that do not count: memory is still being allocated


def made_up_batch(config: Config, schema: Schema) -> dict[str, np.ndarray]:
    """Return `pixels` uint8 [B, H, W, 3] and `labels` int8 [B, V] in -1, 0, 1, with a fixed seed.

    An attribute is missing as a whole, in a third of the photos.
    """
    generator = np.random.default_rng(config.train.seed)
    size, batch = config.data.image_size, config.data.batch_size
    known = generator.random([batch, len(schema.sizes)]) > 1 / 3  # [B, T]
    labels = generator.integers(0, 2, [batch, schema.num_values], dtype=np.int8)  # [B, V]
    return {
        "pixels": generator.integers(0, 256, [batch, size, size, 3], dtype=np.uint8),
        "labels": np.where(known[:, schema.attribute_of_value], labels, np.int8(-1)),
    }


def time_steps(step: Callable[[], float], count: int) -> list[float]:
    """Return the seconds of the first step, of WARMUP more, then of `count` steps.

    Args:
      step: runs one step, waits for its end and returns its loss.

    Raises:
      FloatingPointError: if a step's loss is not finite, so the timed steps are not training.
    """
    seconds = []
    for _ in range(1 + WARMUP + count):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss of step {len(seconds)} is {loss}")
    return seconds


def as_text(report: object) -> str:
    """Return a text unchanged, and a dict of figures as one line each."""
    if isinstance(report, dict):
        return "\n".join(f"{name:42} {round(value, 4):,}" for name, value in report.items())
    return str(report)


def peak_memory() -> float:
    """Return the peak memory of this process in GiB; Linux only.

    getrusage's ru_maxrss is unsuitable: a child process starts with its parent's peak.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20  # of KiB
