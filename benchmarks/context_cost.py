"""Cost of reading known cells and text beside the photo, for `bench.py --what=context`.

Contenders take turns in one process, and a ratio is the median over neighbours in time, since
machines are noisy. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.model import evidence
from attr_extractor.schema import Schema
from attr_extractor.serving.server.loaded import LoadedModel
from benchmarks import growth, our_step, served, step, timing

SIZES = ((49, 49 * 39), (500, 500 * 39))  # attributes and values
BATCHES = (1, 32)  # photos of a request
_WARMUP = 3  # turns that do not count
_TITLE = "jersey dress with a tie belt"


def report(config: Config, schema: Schema, turns: int, model: str = "") -> str:
    """Return the lines of the layer alone, of the training step, and of a served model.

    Args:
      schema: of the step; it is also measured with the last of SIZES.
      turns: measured calls of each contender.
      model: a folder of exported versions that read known cells and text; "" for no latency.

    Raises:
      InputError: if the model reads the photo alone, or the config cannot be used.
    """
    version = served.newest_version(Path(model)) if model else None
    lines = [f"{'evidence layer alone, forward and backward':46}{'step':>11}{'memory':>12}"]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        sizes = [(config, *size, turns) for size in SIZES]
        lines += pool.starmap(layer_line, sizes, chunksize=1)  # a process each, for its peak memory
    lines.append(
        f"{'training step':28}{'photo':>10}{'context':>11}{'ratio':>9}{'GiB':>14}{'ratio':>9}"
    )
    many = growth.even_schema(*SIZES[-1])
    lines += [step_line(config, each, turns) for each in (schema, many)]
    if version is not None:
        lines.append(f"{'served':28}{'product':>10}{'with_context':>16}{'ratio':>9}")
        lines += latency_lines(version, turns)
    return "\n".join(lines)


def layer_line(config: Config, attributes: int, values: int, turns: int) -> str:
    """Measure the layer that reads cells and words, without a photo's network.

    The memory is what the process's peak grows by, so no larger layer may have run in it.
    """
    schema = growth.even_schema(attributes, values)
    batch = made_up_context(config, schema)
    before = timing.peak_memory()
    layer = evidence.Evidence(schema.sizes, config.model.context.width, list(evidence.NAMES))
    inputs = [tf.constant(batch[name]) for name in evidence.NAMES]

    @tf.function
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(layer(inputs)))
        return tape.gradient(total, layer.trainable_variables)

    layer(inputs)
    seconds = _turns({"layer": lambda: run()[0].numpy()}, turns)["layer"]
    memory = 1024 * (timing.peak_memory() - before)
    name = f"  {attributes} attributes, {values:,} values, {layer.count_params():,} parameters"
    return f"{name:46}{1e3 * np.median(seconds):8.1f} ms{memory:8.0f} MiB"


def step_line(config: Config, schema: Schema, turns: int) -> str:
    """Measure training steps of the photo alone and with context, on the same photos."""
    configs = {name: _with_context(config, name == "context") for name in ("photo", "context")}
    steps: dict[str, Callable[[], object]] = {}
    for name, each in configs.items():
        _, run = our_step.make_step(each, schema, turns)
        batches = iter(our_step.made_up_batches(each, schema).cache().repeat())
        steps[name] = _one_step(run, batches)
    seconds = _turns(steps, turns)
    peaks = {
        name: step.run_pass(step.OURS, each, schema, 1)["peak_gib"]
        for name, each in configs.items()
    }
    title = f"  {len(schema.names)} attributes"
    return (
        f"{title:28}{_milliseconds(seconds['photo'])}{_milliseconds(seconds['context'])}"
        f"{_ratio(seconds['context'], seconds['photo']):9.3f}"
        f"{peaks['photo']:7.2f}{peaks['context']:7.2f}{peaks['context'] / peaks['photo']:9.3f}"
    )


def latency_lines(version: Path, turns: int) -> list[str]:
    """Measure `with_context` beside `product`: one photo, a known cell and a title per product."""
    model = LoadedModel(version)
    if not {"with_context", "product"} <= model.signatures.keys():
        raise InputError(f"{version}: reads the photo alone; export a run with model.context")
    lines = []
    for rows in BATCHES:
        photos = np.array([[_photo(i)] for i in range(rows)], object)
        known, text = np.full([rows, 1], b"", object), np.full([rows], _TITLE.encode(), object)
        inputs = {"image_bytes": photos, "known": known, "text": text}
        product, in_context = model.signatures["product"], model.signatures["with_context"]
        calls: dict[str, Callable[[], object]] = {
            "product": functools.partial(product.run, {"image_bytes": photos}),
            "with_context": functools.partial(in_context.run, inputs),
        }
        seconds = _turns(calls, turns)
        ratio = _ratio(seconds["with_context"], seconds["product"])
        title = f"  {rows} photo{'s' * (rows > 1)}"
        lines.append(
            f"{title:28}{_milliseconds(seconds['product'])}"
            f"{_milliseconds(seconds['with_context'])}{ratio:9.3f}"
        )
    model.close()
    return lines


def made_up_context(config: Config, schema: Schema) -> dict[str, np.ndarray]:
    """Return `known` int8 [B, V] of `timing.made_up_batch`, and `text` of `our_step`."""
    labels = timing.made_up_batch(config, schema)["labels"]
    return {evidence.KNOWN: labels, evidence.TEXT: our_step.made_up_pieces(config)}


def _with_context(config: Config, on: bool) -> Config:
    context = config.model.context.model_copy(update={"known": on, "text": on})
    return config.model_copy(update={"model": config.model.model_copy(update={"context": context})})


def _one_step(run: Callable, batches: Iterator) -> Callable[[], object]:
    return lambda: float(run(batches)["loss"])  # waits for the step's end


def _turns(calls: dict[str, Callable[[], object]], turns: int) -> dict[str, np.ndarray]:
    """Return the seconds of each contender's turns; the order changes from turn to turn."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    orders = itertools.cycle([list(calls), list(calls)[::-1]])
    for order in itertools.islice(orders, _WARMUP + turns):
        for name in order:
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(each[_WARMUP:]) for name, each in seconds.items()}


def _ratio(seconds: np.ndarray, others: np.ndarray) -> float:
    return float(np.median(seconds / others))


def _milliseconds(seconds: np.ndarray) -> str:
    return f"{1e3 * np.median(seconds):8.1f} ms"


def _photo(seed: int) -> bytes:
    """Return a noisy JPEG of 300 x 400 pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, [40, 30, 3], np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((300, 400)).save(out, "JPEG")
    return out.getvalue()
