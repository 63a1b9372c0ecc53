"""Benchmark of training and serving on this machine's accelerator, in a bounded time.

Every row is measured in a process of its own, so that TF32, XLA and memory of one do not affect
another, and a row that runs out of memory ends alone. Rows come in order of importance: the base
setting of each network first, then the rows that differ from it in one setting, then in two and
three. The report names the rows that the budget did not reach. Without an accelerator all sizes are
small: such a run tests this benchmark, its figures say nothing about training.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.errors import BAD_INPUT, InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from benchmarks import checkout, timing

LITE0, B0, PAPER = "Lite0", "B0", "paper"  # the paper's heads are on its own network
TRUNKS = {LITE0: "efficientnetlite0", B0: "efficientnetb0"}
# the first of each is part of the base setting
PRECISIONS = ("bfloat16", "TF32", "float32")
XLA = ("activations", "off", "step")
PHOTOS_PER_PRODUCT, TRAINING = 1.05, 0.9  # of the drawn records, at least
ENOUGH = 0.9  # of the bare step's speed: the rest is lost to input or loop
LARGE = 0.3  # of a step's time

OUT_OF_MEMORY = "out of memory"
_SIGNS = ("out of memory", "resource_exhausted", "resourceexhausted", "oom when", "bad_alloc")


@dataclass(frozen=True)
class Row:
    """What a process measures."""

    kind: str  # of accelerator_rows.KINDS
    network: str = LITE0
    batch: int = 0
    precision: str = PRECISIONS[0]
    xla: str = XLA[0]

    def __str__(self) -> str:
        return f"{self.kind:8}{self.network:7}{self.batch:6}  {self.precision:10}{self.xla:12}"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements; the first batch is that of the base setting."""

    batches: tuple[int, ...]
    image_size: int | None  # None: that of the network's config
    most: int  # the largest batch that is tried
    steps: int  # timed steps per row
    precisions: tuple[str, ...] = PRECISIONS


ON_ACCELERATOR = Sizes((256, 32, 1024), None, 2**16, 20)
ON_CPU = Sizes((4, 2, 8), 32, 16, 3, ("bfloat16", "float32"))  # CPUs have no TF32

Result = dict[str, Any]
Measure = Callable[[Row, float], Result]  # a row and the seconds left


def report(
    config: Config,
    schema: Schema,
    steps: int,
    records: str,
    budget_minutes: float,
    output: str,
) -> str:
    """Measure within the budget, write the JSON and return the table.

    Args:
      config: its network has the trunk and precision of each row.
      schema: of the paper's heads.
      steps: number of timed steps per row; 0: by the machine.
      records: for the rows that read photos; empty: they are drawn.
      output: a JSON file, or empty.

    Raises:
      InputError: if the config or the records cannot be used, or TensorFlow does not start within
        the budget.
    """
    end = time.monotonic() + 60 * budget_minutes
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(config, schema, 1, "", ON_CPU)
        try:
            machine = jobs.measure(Row("machine"), 60 * budget_minutes)
        except TimeoutError as error:
            raise InputError(
                f"--budget_minutes: TensorFlow did not start in {budget_minutes:g} minutes"
            ) from error
        if "failed" in machine:
            raise InputError(f"TensorFlow cannot start: {machine['failed']}")
        sizes = ON_ACCELERATOR if machine["accelerator"] else ON_CPU
        steps = steps or sizes.steps
        if not records:
            photos = (1 + timing.WARMUP + steps) * sizes.batches[0]
            side = sizes.image_size or config.data.image_size
            records = _drawn(Path(folder), photos, side)
        jobs = Jobs(config, schema, steps, records, sizes)
        measured, missing = measure(ordered(sizes), sizes.most, jobs.measure, end)
    content = {
        **machine,
        "steps": steps,
        "rows": [{**asdict(row), **result} for row, result in measured.items()],
        "not_reached": [asdict(row) for row in missing],
        "bottleneck": bottleneck(measured),
        "flags": advice(measured),
    }
    if output:
        files.write_json(Path(output), content)
    return table(machine, measured, missing)


def ordered(sizes: Sizes) -> list[Row]:
    """Return the rows in order of importance."""
    axes = (sizes.batches, sizes.precisions, XLA)
    grid: dict[int, list[Row]] = {}
    for settings in itertools.product(*axes):
        differences = sum(value != axis[0] for value, axis in zip(settings, axes))
        grid.setdefault(differences, []).extend(
            Row("step", name, *settings) for name in (LITE0, B0, PAPER)
        )
    base = sizes.batches[0]
    once = [Row("loop", LITE0, base), Row("augment", LITE0, base), Row("augment", PAPER, base)]
    once.append(Row("serve", LITE0, base))
    largest = [Row("largest", name, 2 * base) for name in (LITE0, B0, PAPER)]
    return [*grid.pop(0), *once, *grid.pop(1), *largest, *itertools.chain(*grid.values())]


def measure(
    rows: list[Row], most: int, one: Measure, end: float
) -> tuple[dict[Row, Result], list[Row]]:
    """Measure rows until `end`, a time of the monotonic clock.

    Returns:
      The results, and the rows that were not reached.
    """
    measured: dict[Row, Result] = {}
    for number, row in enumerate(tqdm(rows, desc="measuring", unit="row")):
        try:
            if row.kind == "largest":
                measured.update(_doubled(row, measured, most, one, end))
            else:
                measured[row] = one(row, end - time.monotonic())
        except TimeoutError:
            return measured, rows[number:]
    return measured, []


def _doubled(
    row: Row, measured: dict[Row, Result], most: int, one: Measure, end: float
) -> Iterator[tuple[Row, Result]]:
    """Try twice the largest batch that was measured, then twice that, until one fails."""
    batch = 2 * max([row.batch // 2, *fitting(measured, row.network)])
    while batch <= most:
        each = Row(row.kind, row.network, batch, row.precision, row.xla)
        result = one(each, end - time.monotonic())
        yield each, result
        if "failed" in result:
            return
        batch *= 2


def fitting(measured: dict[Row, Result], name: str) -> list[int]:
    """Return the batches of a network that were trained with the base precision and XLA."""
    return [
        row.batch
        for row, result in measured.items()
        if row.kind in ("step", "largest") and "failed" not in result
        if (row.network, row.precision, row.xla) == (name, PRECISIONS[0], XLA[0])
    ]


@dataclass(frozen=True)
class Jobs:
    """Runs rows in processes."""

    config: Config
    schema: Schema
    steps: int
    records: str
    sizes: Sizes

    def measure(self, row: Row, seconds: float) -> Result:
        """Return the figures of a row, or `failed` with the reason.

        Raises:
          InputError: if the process rejects its input.
          TimeoutError: if it does not end in time.
        """
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.accelerator_rows"],
                input=json.dumps(self._job(row)),
                capture_output=True,
                text=True,
                check=False,
                env=checkout.environment(),
                timeout=max(0.0, seconds),
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(str(row)) from error
        if done.returncode == BAD_INPUT:
            raise InputError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
        if done.returncode:
            return {"failed": reason(done.returncode, done.stderr)}
        return json.loads(done.stdout.splitlines()[-1])

    def _job(self, row: Row) -> dict[str, Any]:
        config, schema = self._network(row.network)
        data: dict[str, Any] = {"batch_size": row.batch or config.data.batch_size}
        if self.sizes.image_size:
            data["image_size"] = self.sizes.image_size
        half = row.precision == "bfloat16"
        train: dict[str, Any] = {
            "precision": "mixed_bfloat16" if half else "float32",
            "xla": row.xla,
            "strategy": "one_device",
            "image_sizes": {},
            "init_from": "",
        }
        changed = {
            "data": config.data.model_copy(update=data),
            "train": config.train.model_copy(update=train),
        }
        return {
            "kind": row.kind,
            "config": config.model_copy(update=changed).model_dump_json(),
            "schema": schema.to_yaml(),
            "tf32": row.precision != "float32",
            "steps": 1 if row.kind == "largest" else self.steps,
            "records": str(Path(self.records).resolve()) if self.records else "",
        }

    def _network(self, name: str) -> tuple[Config, Schema]:
        if name == PAPER:
            return Config.read("paper"), self.schema
        model = self.config.model.model_copy(update={"trunk": TRUNKS[name], "weights": "none"})
        demo = checkout.ROOT / "configs" / "schemas" / "demo.yaml"
        schema = Manifest.read(self.records).schema if self.records else Schema.read(demo)
        return self.config.model_copy(update={"model": model}), schema


def reason(code: int, stderr: str) -> str:
    """Return why a process failed, in one line."""
    if code == -9 or any(sign in stderr.lower() for sign in _SIGNS):
        return OUT_OF_MEMORY
    last = (stderr.strip().splitlines() or ["no message"])[-1]
    return f"exit code {code}: {last}"[:200]


def _drawn(folder: Path, photos: int, side: int) -> str:
    """Draw a catalogue with at least `photos` training photos; return its records."""
    products = max(100, round(photos / PHOTOS_PER_PRODUCT / TRAINING))
    catalogue, records = folder / "catalogue", folder / "records"
    for arguments in (
        ["draw", f"--output_dir={catalogue}", f"--num_products={products}"],
        [
            "build",
            f"--catalogue={catalogue}/catalogue.csv",
            f"--schema={catalogue}/schema.yaml",
            f"--output_dir={records}",
            f"--image_size={max(64, side * 8 // 7)}",  # the margin of 224 in 256
            "--split_fractions=0.94,0.03,0.03",
        ],
    ):
        command = [sys.executable, "-m", "attr_extractor", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=checkout.environment())
    return str(records)


# The report


def bottleneck(measured: dict[Row, Result]) -> str:
    """Return what limits the speed of training with the base setting."""
    loop = _only(measured, "loop")
    if not loop:
        return "unknown: the row `loop` was not measured"
    if 1 - loop["input_stall"] < ENOUGH:
        return (
            f"the input: the step waits for photos {loop['input_stall']:.0%} of the time; "
            f"{loop['input_images_per_s']:,.0f} images/s are read and decoded"
        )
    if loop["loop_of_bare"] < ENOUGH:
        return f"the host: the loop has {loop['loop_of_bare']:.0%} of the bare step's speed"
    augment = _only(measured, "augment")
    if augment:
        part = loop["images_per_s"] / augment["images_per_s"]
        if part > LARGE:
            return f"augmentation: {part:.0%} of the step's time"
    return "the computation of the step on the device"


def advice(measured: dict[Row, Result]) -> dict[str, str]:
    """Return the flags of the fastest measured setting, by network."""
    flags = {}
    for name in (LITE0, B0, PAPER):
        rows = [
            (result["images_per_s"], row)
            for row, result in measured.items()
            if row.kind == "step" and row.network == name and "failed" not in result
        ]
        if rows:
            _, best = max(rows, key=lambda pair: pair[0])
            precision = "mixed_bfloat16" if best.precision == "bfloat16" else "float32"
            flags[name] = (
                f"--set train.precision={precision} --set train.xla={best.xla} "
                f"--set data.batch_size={best.batch}"
            )
    return flags


def _only(measured: dict[Row, Result], kind: str) -> Result | None:
    for row, result in measured.items():
        if row.kind == kind and "failed" not in result:
            return result
    return None


def table(machine: Result, measured: dict[Row, Result], missing: list[Row]) -> str:
    """Format the results as text."""
    lines = [
        f"{machine['hardware']}; TensorFlow {machine['tensorflow']}, Keras {machine['keras']}",
        f"{'':8}{'':7}{'batch':>6}  {'':10}{'XLA':12}{'images/s':>10}{'step':>11}{'first':>9}"
        f"{'GiB':>8}",
    ]
    for row, result in measured.items():
        if "failed" in result:
            lines.append(f"{row}  {result['failed']}")
        elif row.kind in ("step", "largest"):
            lines.append(
                f"{row}{result['images_per_s']:10,.0f}{1e3 * result['step_s']:8,.1f} ms"
                f"{result['first_step_s']:7.1f} s{result['peak_gib']:8.2f}"
            )
        elif row.kind == "augment":
            lines.append(f"{row}{result['images_per_s']:10,.0f}{1e3 * result['step_s']:8,.1f} ms")
        elif row.kind == "loop":
            lines += _loop_lines(row, result)
        else:
            times = (f"{name.replace('_', ' ')} {value:.1f}" for name, value in result.items())
            lines.append(f"{row}  {', '.join(times)}")
    if missing:
        lines.append(f"not reached in the budget, {len(missing)} rows:")
        lines += [f"  {line}" for line in _grouped(missing)]
    lines.append(f"bottleneck: {bottleneck(measured)}")
    for name in (LITE0, B0, PAPER):
        sizes = fitting(measured, name)
        if sizes:
            lines.append(f"largest batch that was trained, {name}: {max(sizes):,}")
    lines += [f"fastest, {name}: {flags}" for name, flags in advice(measured).items()]
    lines.append("another batch size needs another learning rate: see the guide on devices")
    return "\n".join(lines)


def _grouped(rows: list[Row]) -> list[str]:
    """Return one line per kind and batch."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        settings = groups.setdefault(f"{row.kind}, batch {row.batch}", {})
        settings[f"{row.network} {row.precision} {row.xla}"] = None
    return [f"{name}: {', '.join(settings)}" for name, settings in groups.items()]


def _loop_lines(row: Row, result: Result) -> Iterator[str]:
    yield f"{row}{result['images_per_s']:10,.0f}  synthetic batches"
    yield (
        f"{'':45}{result['fed_images_per_s']:10,.0f}  from records: stall "
        f"{result['input_stall']:.1%}, input alone {result['input_images_per_s']:,.0f} images/s"
    )
    yield (
        f"{'':45}{result['loop_images_per_s']:10,.0f}  the whole loop: "
        f"{result['loop_of_bare']:.1%} of synthetic, {result['reads_per_other_step']:g} host reads "
        f"per step, except in the {result['logged_steps']} of {result['loop_steps']} steps that "
        "were logged"
    )
