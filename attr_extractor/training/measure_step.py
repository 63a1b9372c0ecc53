"""The training step beside a plain Keras model and PyTorch with timm, on one made-up batch.

Every pass is a process of its own, so that frameworks do not fight for threads and memory is the
contender's alone. Contenders take turns, round after round, because machines are noisy; a ratio
compares two passes of one round. timm's rows augment nothing, since PyTorch leaves that to the
loader's processes; `augmentation.enabled=false` takes it from the others too. With records there
is one row more: `fit` itself, input and callbacks included.
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
from attr_extractor.training import measure

OURS, OURS_HALF, KERAS, TIMM, TIMM_HALF, LOOP = (
    "ours, float32",
    "ours, bfloat16",
    "plain Keras, float32",
    "PyTorch + timm, float32",
    "PyTorch + timm, bfloat16",
    "ours, float32: the whole loop",
)
CONTENDERS = {  # file of this folder, precision
    OURS: ("measure_ours", "float32"),
    OURS_HALF: ("measure_ours", "mixed_bfloat16"),
    KERAS: ("measure_plain_keras", "float32"),
    TIMM: ("measure_timm", "float32"),
    TIMM_HALF: ("measure_timm", "mixed_bfloat16"),
    LOOP: ("measure_loop", "float32"),
}
Pass = dict[str, Any]  # seconds: list of time_steps; parameters; peak_gib


def contenders(config: Config, records: str | None) -> tuple[list[str], list[str]]:
    """Names of those that can take part, and a line about each that cannot."""
    names, lines = [OURS, OURS_HALF], []
    trunk = config.model.trunk
    if trunk == measure.KERAS_TRUNK:
        names.append(KERAS)
    else:
        lines.append(f"plain Keras: left out, it is for trunk {measure.KERAS_TRUNK}")
    if trunk not in measure.TIMM_TRUNKS:
        known = ", ".join(measure.TIMM_TRUNKS)
        lines.append(f"PyTorch + timm: left out, they are for trunks {known}")
    else:
        absent = [name for name in ("torch", "timm") if not importlib.util.find_spec(name)]
        if absent:
            lines.append(
                f"PyTorch + timm: left out, {' and '.join(absent)} not installed "
                "(pip install 'attr-extractor[bench]')"
            )
        else:
            names += [TIMM, TIMM_HALF]
    return names + [LOOP] * bool(records), lines


def report(
    config: Config, schema: Schema, steps: int = 20, records: str | None = None, rounds: int = 3
) -> str:
    """Measures all contenders and gives the table.

    Args:
      schema: with records, theirs is taken instead.
      steps: of every contender, over all rounds; each process runs a first step and
        measure.WARMUP more besides.

    Raises:
      InputError: config or records that cannot be, or too little memory.
    """
    if records:
        schema = Manifest.read(records).schema
    names, lines = contenders(config, records)
    rounds = min(rounds, steps)
    passes: dict[str, list[Pass]] = {name: [] for name in names}
    for number in tqdm(range(rounds * len(names)), desc="measuring", unit="pass"):
        name = names[number % len(names)]
        passes[name].append(_run(name, config, schema, -(-steps // rounds), records))
    return "\n".join([table(passes, config.data.batch_size), *lines])


def table(passes: dict[str, list[Pass]], batch_size: int) -> str:
    """A line a contender, medians over the rounds; then what the goals are about.

    Args:
      passes: by contender, OURS among them; the same number for each.
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
    return float(np.median(measured["seconds"][1 + measure.WARMUP :]))


def _mean(measured: Pass) -> float:  # a loop's stalls count, however few steps they hit
    return float(np.mean(measured["seconds"][1 + measure.WARMUP :]))


def _peak(measured: Pass) -> float:
    return measured["peak_gib"]


def _median(passes: list[Pass], figure: Callable[[Pass], float]) -> float:
    return float(np.median([figure(each) for each in passes]))


def _ratio(
    passes: dict[str, list[Pass]], name: str, other: str, figure: Callable[[Pass], float]
) -> float:
    pairs = zip(passes[name], passes[other])
    return float(np.median([figure(a) / figure(b) for a, b in pairs]))


def _run(name: str, config: Config, schema: Schema, steps: int, records: str | None) -> Pass:
    """One pass in a process of its own."""
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
    )
    if done.returncode == errors.BAD_INPUT:
        raise InputError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode == -9:
        raise InputError(
            f"{name}: the process was killed, most likely for want of memory: "
            f"lower data.batch_size, now {config.data.batch_size}"
        )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # keras-cv prints when it is imported


def _one_pass() -> None:
    """The program of such a process: a job on standard input, a Pass in the last line it prints."""
    job = json.load(sys.stdin)
    config = Config.model_validate_json(job["config"])
    contender = importlib.import_module(f"attr_extractor.training.{job['file']}")
    schema = Schema.parse(job["schema"], "the schema")
    seconds, parameters = contender.run(config, schema, job["steps"], job["records"])
    peak = measure.peak_memory()
    print(json.dumps({"seconds": seconds, "parameters": parameters, "peak_gib": peak}))


if __name__ == "__main__":
    errors.run_program(_one_pass)
