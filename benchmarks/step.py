"""Benchmark of the training step against plain Keras and PyTorch with timm, on a synthetic batch.

Every pass runs in a separate process, so that frameworks do not compete for threads and the memory
is the contender's alone. Contenders take turns in rounds because machines are noisy; a ratio
compares two passes of one round. timm's rows have no augmentation, since PyTorch leaves that to the
loader's processes; `augmentation.enabled=false` disables it for the others too. With records there
is one more row: `fit` itself, with input and callbacks.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from attr_extractor import errors
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from benchmarks import checkout, timing

OURS, OURS_HALF, KERAS, TIMM, TIMM_HALF, LOOP = (
    "ours, float32",
    "ours, bfloat16",
    "plain Keras, float32",
    "PyTorch + timm, float32",
    "PyTorch + timm, bfloat16",
    "ours, float32: the whole loop",
)
CONTENDERS = {  # module of this folder, precision
    OURS: ("our_step", "float32"),
    OURS_HALF: ("our_step", "mixed_bfloat16"),
    KERAS: ("plain_keras_step", "float32"),
    TIMM: ("timm_step", "float32"),
    TIMM_HALF: ("timm_step", "mixed_bfloat16"),
    LOOP: ("loop_step", "float32"),
}
Pass = dict[str, Any]  # seconds: list of time_steps; parameters; peak_gib


def contenders(config: Config, records: str | None) -> tuple[list[str], list[str]]:
    """Return the names of the available contenders, and a line about each unavailable one."""
    names, lines = [OURS, OURS_HALF], []
    trunk = config.model.trunk
    if trunk == timing.KERAS_TRUNK:
        names.append(KERAS)
    else:
        lines.append(f"plain Keras: skipped, requires trunk {timing.KERAS_TRUNK}")
    if trunk not in timing.TIMM_TRUNKS:
        known = ", ".join(timing.TIMM_TRUNKS)
        lines.append(f"PyTorch + timm: skipped, requires a trunk of {known}")
    else:
        absent = [name for name in ("torch", "timm") if not importlib.util.find_spec(name)]
        if absent:
            lines.append(
                f"PyTorch + timm: skipped, {' and '.join(absent)} not installed "
                "(pip install 'attr-extractor[bench]')"
            )
        else:
            names += [TIMM, TIMM_HALF]
    return names + [LOOP] * bool(records), lines


def report(
    config: Config, schema: Schema, steps: int = 20, records: str | None = None, rounds: int = 3
) -> str:
    """Measure all contenders and return the table.

    Args:
      schema: with records, their schema is used instead.
      steps: number per contender, over all rounds; each process also runs a first step and
        timing.WARMUP more.

    Raises:
      InputError: if config or records are invalid, or there is too little memory.
    """
    if records:
        schema = Manifest.read(records).schema
    names, lines = contenders(config, records)
    rounds = min(rounds, steps)
    passes: dict[str, list[Pass]] = {name: [] for name in names}
    for number in tqdm(range(rounds * len(names)), desc="measuring", unit="pass"):
        name = names[number % len(names)]
        passes[name].append(run_pass(name, config, schema, -(-steps // rounds), records))
    return "\n".join([table(passes, config.data.batch_size), *lines])


def table(passes: dict[str, list[Pass]], batch_size: int) -> str:
    """Return one line per contender with medians over the rounds, then the ratios of the goals.

    Args:
      passes: by contender, including OURS; the same number for each.
    """
    lines = [
        f"{'':30}{'first step':>11}{'of ours':>9}{'step':>9}{'of ours':>9}"
        f"{'images/s':>10}{'GiB':>7}{'parameters':>12}"
    ]
    for name, of_contender in passes.items():
        first, step = (_median(of_contender, figure) for figure in (_first, _step))
        lines.append(
            f"{name:30}{first:9.2f} s{_ratio(passes, name, OURS, _first):9.2f}"
            f"{step:7.3f} s{_ratio(passes, name, OURS, _step):9.2f}{batch_size / step:10.1f}"
            f"{_median(of_contender, _peak):7.2f}{of_contender[0]['parameters']:12,}"
        )
    if KERAS in passes:
        part = _ratio(passes, OURS, KERAS, _first)
        lines.append(f"first step: {part:.2f} of plain Keras'")
    for theirs, ours in ((TIMM, OURS), (TIMM_HALF, OURS_HALF)):
        if theirs in passes:
            times = _ratio(passes, theirs, ours, _step)
            lines.append(f"{ours}: {times:.2f} times as fast as {theirs}")
    if LOOP in passes:
        speed = _ratio(passes, OURS, LOOP, _mean)
        lines.append(f"the whole loop: {speed:.1%} of the bare step's speed, by mean steps")
    return "\n".join(lines)


def _first(measured: Pass) -> float:
    return measured["seconds"][0]


def _step(measured: Pass) -> float:
    return float(np.median(measured["seconds"][1 + timing.WARMUP :]))


def _mean(measured: Pass) -> float:  # stalls of the loop count, even if they affect few steps
    return float(np.mean(measured["seconds"][1 + timing.WARMUP :]))


def _peak(measured: Pass) -> float:
    return measured["peak_gib"]


def _median(passes: list[Pass], figure: Callable[[Pass], float]) -> float:
    return float(np.median([figure(each) for each in passes]))


def _ratio(
    passes: dict[str, list[Pass]], name: str, other: str, figure: Callable[[Pass], float]
) -> float:
    pairs = zip(passes[name], passes[other])
    return float(np.median([figure(a) / figure(b) for a, b in pairs]))


def run_pass(
    name: str, config: Config, schema: Schema, steps: int, records: str | None = None
) -> Pass:
    """Run one pass of a contender in a separate process.

    Raises:
      InputError: if config or records are invalid, or there is too little memory.
    """
    file, precision = CONTENDERS[name]
    train = config.train.model_copy(update={"precision": precision})
    config = config.model_copy(update={"train": train})
    job = {
        "file": file,
        "config": config.model_dump_json(),
        "schema": schema.to_yaml(),
        "steps": steps,
        "records": records and str(Path(records).resolve()),
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env=checkout.environment(),
    )
    if done.returncode == errors.BAD_INPUT:
        raise InputError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode == -9:
        raise InputError(
            f"{name}: the process was killed, probably because it ran out of memory: "
            f"lower data.batch_size, now {config.data.batch_size}"
        )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # keras-cv prints when it is imported


def _one_pass() -> None:
    """Run the job on standard input in a child process; print its Pass as the last line."""
    job = json.load(sys.stdin)
    config = Config.model_validate_json(job["config"])
    contender = importlib.import_module(f"benchmarks.{job['file']}")
    schema = Schema.parse(job["schema"], "the schema")
    seconds, parameters = contender.run(config, schema, job["steps"], job["records"])
    peak = timing.peak_memory()
    print(json.dumps({"seconds": seconds, "parameters": parameters, "peak_gib": peak}))


if __name__ == "__main__":
    errors.run_program(_one_pass)
