"""What the contenders of `bench.py --what=step` share: a made-up batch, a clock, a scale.

Imports no framework: PyTorch's process must not hold TensorFlow as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attr_extractor.config import Config
from attr_extractor.schema import Schema

KERAS_TRUNK = "efficientnetb0"  # of the plain Keras model
TIMM_TRUNKS = {  # our trunks' names there
    "efficientnetb0": "efficientnet_b0",
    **{f"efficientnetlite{i}": f"tf_efficientnet_lite{i}" for i in range(3)},
}
WARMUP = 2  # steps after the first one that do not count: memory is still being laid out


def made_up_batch(config: Config, schema: Schema) -> dict[str, np.ndarray]:
    """`pixels` uint8 [B, H, W, 3] and `labels` int8 [B, V] in -1, 0, 1, the same ones every time.

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
    """Seconds of the first step, of WARMUP more, then of `count` steps; `step` waits for its end.

    Raises:
      FloatingPointError: a step's loss is not finite, so what was timed is no training.
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
    """A text as it is; a dict of figures as a line each."""
    if isinstance(report, dict):
        return "\n".join(f"{name:42} {round(value, 4):,}" for name, value in report.items())
    return str(report)


def peak_memory() -> float:
    """GiB that this process held at most; Linux.

    getrusage's ru_maxrss would not do: a child starts with what its parent had reached.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20  # of KiB
