"""Answering on a CPU: our SavedModel beside what Keras exports, ONNX Runtime and OpenVINO.

All hold one network with the same fresh weights in float32 and are asked in turns, pixels to
scores. What is not installed is left out, with a line that says so.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.model.answers import Answers, default_thresholds
from attr_extractor.schema import Schema
from attr_extractor.serving.forms import FORMS, Run, scores_of
from attr_extractor.serving.served_model import ServedModel

BATCHES = (1, 8, 32)
_FORMS = ("onnx", "openvino")
_CALLS = 3  # of a turn, after one that does not count
_PAUSE = 0.1  # seconds before a turn: another runtime's idle threads still spin, on our cores


def report(config: Config, schema: Schema, rounds: int) -> str:
    """A table: milliseconds of a batch, the median of so many rounds, and the largest difference.

    Args:
      rounds: in each of which every contender has a turn.
    """
    built = network.build(schema, config)
    side = config.data.image_size
    photos = np.random.default_rng(0).integers(0, 256, [max(BATCHES), side, side, 3], np.uint8)
    expected = built.flat_scores(photos).numpy()
    lines = [f"{'':24}" + "".join(f"batch {rows:<8}" for rows in BATCHES) + "difference"]
    with tempfile.TemporaryDirectory() as folder:
        runs, absent = _contenders(built, config, Path(folder))
        times = {rows: _times(runs, photos[:rows], rounds) for rows in BATCHES}
        for name, run in runs.items():
            difference = np.abs(run(photos) - expected).max()
            columns = "".join(f"{times[rows][name]:8.1f} ms   " for rows in BATCHES)
            lines.append(f"{name:24}{columns}{difference:.1e}")
    return "\n".join([*lines, *absent])


def _contenders(built: Any, config: Config, folder: Path) -> tuple[dict[str, Run], list[str]]:
    answers = Answers(built.schema, default_thresholds(built.schema))
    served = ServedModel(built, answers, config.data, [])
    tf.saved_model.save(served, str(folder / "ours"), signatures=served.signatures())
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its endpoints
        built.logits.export(str(folder / "keras"))
    # a loaded module's functions live as long as it does, so the runs below keep both
    ours, flat = (tf.saved_model.load(str(folder / name)) for name in ("ours", "keras"))
    function, plain = scores_of(ours.network), flat.signatures["serving_default"]
    key = next(iter(plain.structured_outputs))
    given = next(iter(plain.structured_input_signature[1]))

    def run_ours(pixels: np.ndarray, _keep: Any = ours) -> np.ndarray:
        return function(pixels)["scores"].numpy()

    def run_plain(pixels: np.ndarray, _keep: Any = flat) -> np.ndarray:
        return tf.sigmoid(plain(**{given: tf.constant(pixels)})[key]).numpy()

    runs: dict[str, Run] = {"ours": run_ours, "as Keras exports it": run_plain}
    absent = []
    for name in _FORMS:
        path = folder / FORMS[name].file
        try:
            FORMS[name].write(function, path, np.empty(0))
            runs[name] = FORMS[name].open(path)
        except InputError as error:
            absent.append(f"{name}: left out, {error}")
    return runs, absent


def _times(runs: dict[str, Run], pixels: np.ndarray, rounds: int) -> dict[str, float]:
    """Median milliseconds by contender, who take turns of a few calls."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs.items())
    for _ in range(rounds):
        order = order[1:] + order[:1]  # nobody always comes after the same one
        for name, run in order:
            time.sleep(_PAUSE)
            run(pixels)
            for _ in range(_CALLS):
                start = time.perf_counter()
                run(pixels)
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(each) * 1e3) for name, each in seconds.items()}
