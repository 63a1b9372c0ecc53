"""Simulate a round of review: corrupt labels, correct some of them, and continue training.

Only labels of training products are corrupted; validation and test keep the seller's labels. The
simulated reviewer knows the original label of each cell. Training continues in four ways:

nothing     with the corrupted labels
random      after a review of cells with labels, sampled by a hash
queue       after a review of the cells that the review page shows first, with export_decisions
everything  after the correction of all corrupted cells: the upper bound of a review
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from attr_extractor import labels, working_copy
from attr_extractor.catalogue import raw_files, table
from attr_extractor.catalogue.splits import uniform
from attr_extractor.config import Config
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.review import export_decisions
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.queue import SELLER, VALUES, Filter, Queue, Window
from attr_extractor.errors import InputError
from attr_extractor.evaluation import evaluate
from attr_extractor.records import index, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.runner import Runner
from attr_extractor.schema import SEPARATOR, Attribute, Schema, require_same
from attr_extractor.serving import export
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir

BEFORE, NOTHING, RANDOM, QUEUE, EVERYTHING = "before", "nothing", "random", "queue", "everything"
_REVIEWER = Window("simulation", "simulation")
_QUEUED = 10  # size of the queue in multiples of `looks`: cells of other products are skipped


class Cell(NamedTuple):
    """A cell of the table."""

    row: int
    attribute: str


class _LabelledCell(NamedTuple):
    """A cell with its original label."""

    cell: Cell
    values: list[str]  # the seller's
    corrupted: str  # the corrupted value; "" if the cell is not corrupted


@dataclass(frozen=True)
class SimulateOptions:
    """Settings of a simulation.

    Attributes:
      spoiled: share of the training products' labels that are corrupted.
      looks: number of cells that the reviewer looks at.
      epochs: epochs of the continued training, at a quarter of the learning rate.
      seed: seed of the corruption and of the random sample.
      image_root: image root of the table.
      box_columns: box columns that the records were built with.
    """

    spoiled: float = 0.2
    looks: int = 300
    epochs: int = 3
    seed: int = 0
    image_root: str | None = None
    box_columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 < self.spoiled < 1:
            raise InputError(f"--spoiled={self.spoiled:g}: must be above 0 and below 1")


@dataclass(frozen=True)
class WayResult:
    """Metrics of one way on the test photos.

    Attributes:
      score: mean score.
      accuracy: mean accuracy if the best value is always answered.
      looks: number of reviewed cells.
      wrong: number of reviewed cells that were corrupted.
      difference: score minus that of `nothing`; None for `before` and `nothing`.
      interval: 95 % interval of the difference.
    """

    score: float
    accuracy: float
    looks: int = 0
    wrong: int = 0
    difference: float | None = None
    interval: tuple[float, float] | None = None


def simulate(
    catalogue: str | Path,
    schema: Schema,
    records: str | Path,
    config: Config,
    output_dir: str | Path,
    runner: Runner,
    options: SimulateOptions,
) -> dict[str, WayResult]:
    """Run one round of review for each way and return its metrics by way, `before` first.

    Args:
      catalogue: the table.
      schema: its schema.
      records: records of this table and schema; they are copied once, and the copy is relabelled
        for each way in turn.
      config: config of the training.
      output_dir: a new folder for tables, records, runs and the model.
      runner: runs the relabelling.
      options: settings.

    Raises:
      InputError: if an input cannot be used, or if `output_dir` is not empty.
    """
    truth = _Truth(catalogue, schema, records, options)
    with working_copy.new(output_dir, "--output_dir") as folder:
        copied = folder / "records"
        shutil.copytree(working_copy.folder(records), copied)

        def trained(way: str, corrected: Path, config: Config) -> Path:
            relabel.relabel(corrected, schema, copied, runner)
            return fit.train(config, copied, folder / f"run_{way}").path

        spoiled = truth.write(folder / "spoiled.csv", right=())
        before = trained(BEFORE, spoiled, config)
        reviewed = {NOTHING: set[Cell](), RANDOM: truth.random(), EVERYTHING: set(truth.spoiled())}
        tables = {w: truth.write(folder / f"{w}.csv", right) for w, right in reviewed.items()}
        reviewed[QUEUE], tables[QUEUE] = _reviewed(truth, before, spoiled, folder)

        results = {BEFORE: _measure(before, records, None)}
        continued = _continued(config, before, options)
        control = None
        for way in (NOTHING, RANDOM, QUEUE, EVERYTHING):
            run = trained(way, tables[way], continued)
            wrong = reviewed[way] & reviewed[EVERYTHING]
            result = _measure(run, records, control)
            results[way] = replace(result, looks=len(reviewed[way]), wrong=len(wrong))
            control = control or run
        return results


def _measure(run: Path, records: str | Path, control: Path | None) -> WayResult:
    """Return metrics on the test photos, compared with the run `control` if there is one."""
    measured = evaluate.evaluate(run, records=records, other_dir=control)
    mean = measured["mean"]
    result = WayResult(mean["score"], mean["accuracy"])
    if control is None:
        return result
    compared = measured["comparison"]["mean"]
    low, high = compared["difference_interval"]
    return replace(result, difference=compared["difference"], interval=(low, high))


def as_text(results: dict[str, WayResult]) -> str:
    """Return a text table, one line per way."""
    lines = [f"{'':12}{'reviewed':>10}{'wrong':>8}{'score':>8}{'accuracy':>10}  difference"]
    for way, result in results.items():
        line = f"{way:12}{result.looks:10,}{result.wrong:8,}"
        line += f"{result.score:8.3f}{result.accuracy:10.3f}"
        if result.interval is not None:
            low, high = result.interval
            line += f"  {result.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(line)
    lines.append("accuracy: best value always answered; difference: score minus that of 'nothing'")
    return "\n".join(lines)


class _Truth:
    """The seller's labels and the corrupted ones; a hash selects the same cells in each pass."""

    def __init__(
        self,
        catalogue: str | Path,
        schema: Schema,
        records: str | Path,
        options: SimulateOptions,
    ):
        self.catalogue, self.schema, self.options = catalogue, schema, options
        manifest = Manifest.read(records)
        require_same(manifest.fingerprint, schema, str(records))
        shards = [shard.name for shard in manifest.split("train").shards]
        self._training = set(index.read_photos(str(records), shards)["product_id"].to_pylist())

    def cells(self, chunk: pd.DataFrame) -> Iterator[_LabelledCell]:
        """Yield the labelled cells of training products."""
        columns = {name: chunk[name].tolist() for name in self.schema.names}
        products = [text.strip() for text in chunk[table.PRODUCT_ID]]
        for place, (row, product) in enumerate(zip(chunk.index, products)):
            if product not in self._training:
                continue
            category, _ = labels.encode_category(self.schema, columns[self.schema.category][place])
            for name, column in columns.items():
                attribute = self.schema[name]
                given, issue = labels.parse(attribute, column[place], self.schema)
                if not given or issue:
                    continue
                others = [v for v in self._allowed(attribute, category) if v not in given]
                key = (self.options.seed, row, name)
                corrupted = ""
                if others and uniform("spoil", *key) < self.options.spoiled:
                    corrupted = attribute.values[others[int(uniform("to", *key) * len(others))]]
                values = [attribute.values[v] for v in given]
                yield _LabelledCell(Cell(row, name), values, corrupted)

    def spoiled(self) -> Iterator[Cell]:
        """Yield the corrupted cells."""
        return (each.cell for each in self._labelled() if each.corrupted)

    def random(self) -> set[Cell]:
        """Return a random sample of `looks` labelled cells."""
        cells = (each.cell for each in self._labelled())
        keys = ((uniform("look", self.options.seed, *cell), cell) for cell in cells)
        return {cell for _, cell in heapq.nsmallest(self.options.looks, keys)}

    def values(self, wanted: Container[Cell]) -> dict[Cell, list[str]]:
        """Return the seller's values of the labelled cells of training products in `wanted`."""
        return {each.cell: each.values for each in self._labelled() if each.cell in wanted}

    def write(self, path: Path, right: Container[Cell]) -> Path:
        """Write the corrupted table, with the cells of `right` corrected."""
        export_decisions.write_table(path, self._spoiled_chunks(right), self.schema)
        return path

    def _allowed(self, attribute: Attribute, category: int | None) -> Iterable[int]:
        """Return positions of the values allowed in a category; all if it is unknown."""
        if category is None:
            return range(len(attribute.values))
        return np.flatnonzero(self.schema.allowed[category, self.schema.slices[attribute.name]])

    def _chunks(self) -> Iterator[pd.DataFrame]:
        return table.chunks(self.catalogue, self.schema)

    def _labelled(self) -> Iterator[_LabelledCell]:
        return (each for chunk in self._chunks() for each in self.cells(chunk))

    def _spoiled_chunks(self, right: Container[Cell]) -> Iterator[pd.DataFrame]:
        for chunk in self._chunks():
            for each in list(self.cells(chunk)):
                if each.corrupted and each.cell not in right:
                    chunk.at[each.cell.row, each.cell.attribute] = each.corrupted
            yield chunk


def _reviewed(truth: _Truth, run: Path, spoiled: Path, folder: Path) -> tuple[set[Cell], Path]:
    """Return the cells that the queue shows first, and the table with the decisions on them."""
    model = export.export(run, folder / "model")
    names = ("cells.parquet", "decisions.sqlite", "queue.csv")
    cells, decisions, corrected = (folder / name for name in names)
    root = raw_files.image_root_of(truth.catalogue, truth.options.image_root)
    boxed = predict.PredictOptions(box_columns=tuple(truth.options.box_columns))
    predict.predict(model, spoiled, folder / "filled.csv", root, boxed, cells)
    looks = truth.options.looks
    thresholds = RunDir.read(run).thresholds().per_value(truth.schema)
    file, _ = open_queue(decisions, cells, truth.schema, thresholds, _QUEUED * looks)
    try:
        with file.reading() as db:
            queued = {Cell(*row) for row in db.execute("SELECT row, attribute FROM items")}
        decided = _decide(Queue(file, truth.schema), truth.values(queued), looks)
    finally:
        file.close()
    export_decisions.export(decisions, spoiled, truth.schema, corrected)
    return decided, corrected


def _decide(queue: Queue, known: dict[Cell, list[str]], looks: int) -> set[Cell]:
    """Decide items of the queue with the seller's values and return the decided cells."""
    decided: set[Cell] = set()
    skipped: set[int] = set()
    while len(decided) < looks:
        item = queue.next(_REVIEWER, Filter())
        if item is None or item.id in skipped:
            break
        cell = Cell(item.row, item.attribute)
        if cell not in known:
            skipped.add(item.id)
            queue.skip(_REVIEWER, item.id)
            continue
        same = set(item.given.split(SEPARATOR)) == set(known[cell])
        kind, values = (SELLER, []) if same else (VALUES, known[cell])
        queue.decide(_REVIEWER, item.id, kind, values)
        decided.add(cell)
    return decided


def _continued(config: Config, before: Path, options: SimulateOptions) -> Config:
    """Return the config of the training that continues from a finished run."""
    train = config.train.model_copy(
        update={
            "init_from": str(before),
            "epochs": options.epochs,
            "learning_rate": config.train.learning_rate / 4,
            "warmup_epochs": 0.0,
            "image_sizes": {},
            "freeze_trunk_epochs": 0,
            "keep": "last",
        }
    )
    return config.model_copy(update={"train": train})
