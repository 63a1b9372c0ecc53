"""Inference time on a CPU: our SavedModel, Keras' export, ONNX Runtime and OpenVINO.

Our SavedModel is measured as is, and in as many parts as there are cores, in a separate process
with one thread per operation. SavedModels run in Sessions, as in TF Serving and the local server.
All contenders are the same network with the same untrained float32 weights and take turns, pixels
to scores. A runtime that is not installed is skipped, and reported as such.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.model.answers import Answers, default_thresholds
from attr_extractor.schema import Schema
from attr_extractor.serving.convert import FORMS, Scorer, scores_function
from attr_extractor.serving.served_model import ServedModel
from attr_extractor.serving.server.loaded import DEFAULT, LoadedModel

Timed = Callable[[np.ndarray], tuple[np.ndarray, float]]  # scores and seconds

BATCHES = (1, 8, 32)
_FORMS = ("onnx", "openvino")
_CALLS = 3  # minimum per turn, after one warm-up call
_PAUSE = 0.1  # seconds before a turn, in which another runtime's idle threads stop spinning


def report(config: Config, schema: Schema, rounds: int) -> str:
    """Return a table: median milliseconds per batch over the rounds, and the largest difference.

    Args:
      rounds: number of rounds; every contender has one turn in each.
    """
    built = network.build(schema, config)
    side = config.data.image_size
    photos = np.random.default_rng(0).integers(0, 256, [max(BATCHES), side, side, 3], np.uint8)
    expected = built.flat_scores(photos).numpy()
    lines = [f"{'':24}" + "".join(f"batch {rows:<8}" for rows in BATCHES) + "difference"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        runs, absent = _contenders(built, config, Path(folder), opened)
        times = {rows: _times(runs, photos[:rows], rounds) for rows in BATCHES}
        for name, run in runs.items():
            difference = np.abs(run(photos)[0] - expected).max()
            columns = "".join(f"{times[rows][name]:8.1f} ms   " for rows in BATCHES)
            lines.append(f"{name:24}{columns}{difference:.1e}")
    return "\n".join([*lines, *absent])


def _contenders(
    built: Any, config: Config, folder: Path, opened: contextlib.ExitStack
) -> tuple[dict[str, Timed], list[str]]:
    cores = len(os.sched_getaffinity(0))
    _save(built, config, cores, folder / "parts")
    ours = _save(built, config, 1, folder / "ours")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its endpoints
        built.logits.export(str(folder / "keras"))
    in_parts = opened.enter_context(_elsewhere(folder / "parts"))
    logits = _in_session(folder / "keras")
    runs: dict[str, Timed] = {
        "attr_extractor": _timed(_in_session(folder / "ours")),
        f"attr_extractor, {cores} parts": in_parts,
        "Keras export": _timed(lambda pixels: 1 / (1 + np.exp(-logits(pixels)))),
    }
    absent = []
    for name in _FORMS:
        path = folder / FORMS[name].file
        try:
            FORMS[name].write(scores_function(ours.network), path, np.empty(0))
            runs[name] = _timed(FORMS[name].open(path))
        except InputError as error:
            absent.append(f"{name}: skipped, {error}")
    return runs, absent


def _save(built: Any, config: Config, parts: int, path: Path) -> ServedModel:
    """Write a SavedModel that returns the scores only."""
    facts = path.with_suffix(".facts") / "model.json"  # sets a Session's threads
    facts.parent.mkdir()
    files.write_json(facts, {"parts": parts})
    answers = Answers(built.schema, default_thresholds(built.schema))
    served = ServedModel(built, answers, config.data, [facts], parts)
    tf.saved_model.save(served, str(path), signatures=scores_function(served.network))
    return served


def _in_session(path: Path) -> Scorer:
    signature = LoadedModel(path).signatures[DEFAULT]
    return lambda pixels: signature.call(pixels)[0]


@contextlib.contextmanager
def _elsewhere(path: Path) -> Iterator[Timed]:
    """Run a SavedModel in a separate process: the first Session sets a process' threads."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(path, theirs), daemon=True)
    process.start()

    def run(pixels: np.ndarray) -> tuple[np.ndarray, float]:
        ours.send(pixels)
        return ours.recv()

    try:
        yield run
    finally:
        process.terminate()
        process.join()


def _answer(path: Path, asked: Connection) -> None:
    run = _timed(_in_session(path))
    while True:
        asked.send(run(asked.recv()))


def _timed(run: Scorer) -> Timed:
    def timed(pixels: np.ndarray) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        return run(pixels), time.perf_counter() - start

    return timed


def _times(runs: dict[str, Timed], pixels: np.ndarray, rounds: int) -> dict[str, float]:
    """Return median milliseconds by contender; contenders take turns of a few calls."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs.items())
    calls = max(_CALLS, max(BATCHES) // len(pixels))
    for _ in range(rounds):
        order = order[1:] + order[:1]  # so that no contender always follows the same one
        for name, run in order:
            time.sleep(_PAUSE)
            run(pixels)
            seconds[name] += [run(pixels)[1] for _ in range(calls)]
    return {name: float(np.median(each) * 1e3) for name, each in seconds.items()}
