"""Inference time on a CPU: our SavedModel, Keras' export, ONNX Runtime and OpenVINO.

Our SavedModel is measured in float32, with bfloat16 from each map on, and in as many parts as there
are cores, in a separate process with one thread per operation. SavedModels run in Sessions, as in
TF Serving and the local server. All contenders are the same network with the same weights and take
turns, pixels to scores. A runtime that is not installed is skipped, and reported as such.

With a run the weights are the trained ones, and answers are compared with the trained network's on
test photos. Otherwise the weights are random and the photos noise.
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
from attr_extractor.serving import fold, precision
from attr_extractor.serving.convert import FORMS, Scorer, scores_function
from attr_extractor.serving.served_model import computed
from attr_extractor.serving.server.loaded import DEFAULT, LoadedModel
from attr_extractor.training.run_dir import RunDir

Timed = Callable[[np.ndarray], tuple[np.ndarray, float]]  # scores and seconds

BATCHES = (1, 8, 32)
_FORMS = ("onnx", "openvino")
_CALLS = 3  # minimum per turn, after one warm-up call
_PAUSE = 0.1  # seconds before a turn, in which another runtime's idle threads stop spinning


def report(
    config: Config, schema: Schema, rounds: int, run_dir: str = "", records: str = ""
) -> str:
    """Return a table: milliseconds per batch, equal answers, largest difference of a score.

    Args:
      rounds: number of rounds; every contender has one turn in each. The time is the median.
      run_dir: replaces config and schema.
      records: of the run; default: those that it was trained on.
    """
    if run_dir:
        run = RunDir.read(run_dir)
        config, built, answers = run.config, run.load_network(), run.answers()
        photos = np.concatenate(precision.photos(run, records or None, "test"))
    else:
        built = network.build(schema, config)
        answers = Answers(schema, default_thresholds(schema))
        side = config.data.image_size
        photos = np.random.default_rng(0).integers(0, 256, [max(BATCHES), side, side, 3], np.uint8)
    expected = _in_batches(built.flat_scores, photos)
    batches = {rows: np.resize(photos, [rows, *photos.shape[1:]]) for rows in BATCHES}
    lines = [f"{'':32}" + "".join(f"batch {rows:<8}" for rows in BATCHES) + "equal answers"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        runs, absent = _contenders(built, answers, Path(folder), opened)
        times = {rows: _times(runs, batches[rows], rounds) for rows in BATCHES}
        for name, timed in runs.items():
            scores = _in_batches(lambda pixels: timed(pixels)[0], photos)  # noqa: B023
            difference = precision.difference(answers, scores, expected)
            columns = "".join(f"{times[rows][name]:8.1f} ms   " for rows in BATCHES)
            lines.append(f"{name:32}{columns}{difference.equal:.4f}  {difference.largest:.1e}")
    return "\n".join([*lines, f"{len(photos)} photos", *absent])


def _in_batches(run: Callable[[np.ndarray], Any], photos: np.ndarray) -> np.ndarray:
    size = max(BATCHES)
    return np.concatenate([run(photos[i : i + size]) for i in range(0, len(photos), size)])


def _contenders(
    built: Any, answers: Answers, folder: Path, opened: contextlib.ExitStack
) -> tuple[dict[str, Timed], list[str]]:
    cores = len(os.sched_getaffinity(0))
    _save(built, cores, folder / "parts")
    ours = _save(built, 1, folder / "ours")
    sides = fold.sides(built)[1:]  # the largest map is that of the pixels
    for side in sides:
        _save(built, 1, folder / f"from-{side}", side)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its endpoints
        built.logits.export(str(folder / "keras"))
    in_parts = opened.enter_context(_elsewhere(folder / "parts"))
    logits = _in_session(folder / "keras")
    runs: dict[str, Timed] = {
        "attr_extractor": _timed(_in_session(folder / "ours")),
        f"attr_extractor, {cores} parts": in_parts,
        **{
            f"attr_extractor, bfloat16 from {side:3}": _timed(_in_session(folder / f"from-{side}"))
            for side in sides
        },
        "Keras export": _timed(lambda pixels: built.scores_of(logits(pixels)).numpy()),
    }
    absent, no_photos = [], np.empty(0)
    for name in _FORMS:
        path = folder / FORMS[name].file
        try:
            FORMS[name].write(scores_function(ours.network), path, no_photos)
            runs[name] = _timed(FORMS[name].open(path))
        except InputError as error:
            absent.append(f"{name}: skipped, {error}")
    if "openvino" in runs:
        runs["openvino, bfloat16"] = _timed(_openvino_bfloat16(folder / FORMS["openvino"].file))
    return runs, absent


def _save(built: Any, parts: int, path: Path, bfloat16_side: int = 0) -> tf.Module:
    """Write a SavedModel that returns the scores only."""
    description = path.with_suffix(".facts") / "model.json"  # sets a Session's threads
    description.parent.mkdir()
    files.write_json(description, {"parts": parts})
    module = tf.Module()
    module.assets = [tf.saved_model.Asset(str(description))]
    compute = tf.function(computed(built, parts, bfloat16_side))
    spec = tf.TensorSpec(built.logits.inputs[0].shape, tf.uint8, "pixels")
    module.network = compute.get_concrete_function(spec)
    module.weights = module.network.variables
    tf.saved_model.save(module, str(path), signatures=scores_function(module.network))
    return module


def _in_session(path: Path) -> Scorer:
    signature = LoadedModel(path).signatures[DEFAULT]
    return lambda pixels: signature.call(pixels)[0]


def _openvino_bfloat16(path: Path) -> Scorer:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "bf16"}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda pixels: model(pixels)[0]


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
