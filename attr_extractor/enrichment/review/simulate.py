"""Simulate a round of review: corrupt labels, correct some of them, and continue training.

Only labels of training products are corrupted; validation and test keep the seller's labels. The
simulated reviewer knows the original label of each cell. Training continues in four ways:

nothing     with the corrupted labels
random      after a review of cells with labels, sampled by a hash
queue       after a review of the cells that review.py shows first, with export_decisions
everything  after the correction of all corrupted cells: the upper bound of a review
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attr_extractor import labels, ownership
from attr_extractor.catalogue import raw_files, table
from attr_extractor.catalogue.splits import uniform
from attr_extractor.config import Config
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.review import export_decisions
from attr_extractor.enrichment.review.build_queue import open_queue
from attr_extractor.enrichment.review.filters import Filter
from attr_extractor.enrichment.review.queue import SELLER, VALUES, Queue, Window
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
Cell = tuple[int, str]  # row of the table, attribute
_REVIEWER = Window("simulation", "simulation")
_QUEUED = 10  # size of the queue in multiples of `looks`: cells of other products are skipped


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


def simulate(
    catalogue: str | Path,
    schema: Schema,
    records: str | Path,
    config: Config,
    output_dir: str | Path,
    runner: Runner,
    options: SimulateOptions,
) -> dict[str, dict[str, Any]]:
    """Run one round of review for each way and return its metrics.

    Args:
      catalogue: the table.
      schema: its schema.
      records: records of this table and schema; they are copied once, and the copy is relabelled
        for each way in turn.
      config: config of the training.
      output_dir: a new folder for tables, records, runs and the model.
      runner: runs the relabelling.
      options: settings.

    Returns:
      A dict per way, `before` first: `score` and `accuracy` (the best value is always answered) on
      the test photos. The ways after `before` also have `looks`, the number of reviewed cells, and
      `wrong`, how many of those were corrupted. The ways after `nothing` also have `difference`,
      the score minus that of `nothing`, and its 95 % `interval`.

    Raises:
      InputError: if an input cannot be used, or if `output_dir` is not empty.
    """
    catalogue, records = Path(catalogue), Path(records)
    truth = _Truth(catalogue, schema, records, options)
    with ownership.new_folder(output_dir, "--output_dir") as folder:
        copied = folder / "records"
        shutil.copytree(records, copied)

        def trained(way: str, corrected: Path, config: Config) -> Path:
            relabel.relabel(corrected, schema, copied, runner)
            return fit.train(config, copied, folder / f"run_{way}").path

        spoiled = truth.write(folder / "spoiled.csv", right=())
        before = trained(BEFORE, spoiled, config)
        looked = {NOTHING: set[Cell](), RANDOM: truth.random(), EVERYTHING: set(truth.spoiled())}
        tables = {w: truth.write(folder / f"{w}.csv", right) for w, right in looked.items()}
        looked[QUEUE], tables[QUEUE] = _reviewed(truth, before, spoiled, folder)

        found, then = {BEFORE: _scores(before, records, None)}, _then(config, before, options)
        control = None
        for way in (NOTHING, RANDOM, QUEUE, EVERYTHING):
            run = trained(way, tables[way], then)
            wrong = looked[way] & looked[EVERYTHING]
            counts = {"looks": len(looked[way]), "wrong": len(wrong)}
            found[way] = {**_scores(run, records, control), **counts}
            control = control or run
        return found


def _scores(run: Path, records: Path, control: Path | None) -> dict[str, Any]:
    """Return metrics on the test photos, compared with the run `control` if there is one."""
    measured = evaluate.evaluate(run, records=records, other_dir=control)
    found = {key: measured["mean"][key] for key in ("score", "accuracy")}
    if control is not None:
        compared = measured["comparison"]["mean"]
        found["difference"] = compared["difference"]
        found["interval"] = compared["difference_interval"]
    return found


def as_text(found: dict[str, dict[str, Any]]) -> str:
    """Return a text table, one line per way."""
    lines = [f"{'':12}{'reviewed':>10}{'wrong':>8}{'score':>8}{'accuracy':>10}  difference"]
    for way, each in found.items():
        line = f"{way:12}{each.get('looks', 0):10,}{each.get('wrong', 0):8,}"
        line += f"{each['score']:8.3f}{each['accuracy']:10.3f}"
        if "difference" in each:
            low, high = each["interval"]
            line += f"  {each['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(line)
    lines.append("accuracy: best value always answered; difference: score minus that of 'nothing'")
    return "\n".join(lines)


class _Truth:
    """The seller's labels and the corrupted ones; a hash selects the same cells in each pass."""

    def __init__(self, catalogue: Path, schema: Schema, records: Path, options: SimulateOptions):
        self.catalogue, self.schema, self.options = catalogue, schema, options
        manifest = Manifest.read(records)
        require_same(manifest.fingerprint, schema, str(records))
        shards = [shard.name for shard in manifest.split("train").shards]
        self._training = set(index.read_photos(str(records), shards)["product_id"].to_pylist())

    def cells(self, chunk: pd.DataFrame) -> Iterator[tuple[Cell, list[str], str]]:
        """Yield labelled cells of training products: (cell, seller's values, corrupted value).

        The corrupted value is "" if the cell is not corrupted.
        """
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
                wrong = ""
                if others and uniform("spoil", *key) < self.options.spoiled:
                    wrong = attribute.values[others[int(uniform("to", *key) * len(others))]]
                yield (row, name), [attribute.values[v] for v in given], wrong

    def spoiled(self) -> Iterator[Cell]:
        """Yield the corrupted cells."""
        return (cell for chunk in self._chunks() for cell, _, wrong in self.cells(chunk) if wrong)

    def random(self) -> set[Cell]:
        """Return a random sample of `looks` labelled cells."""
        cells = (cell for chunk in self._chunks() for cell, _, _ in self.cells(chunk))
        keys = ((uniform("look", self.options.seed, *cell), cell) for cell in cells)
        return {cell for _, cell in heapq.nsmallest(self.options.looks, keys)}

    def values(self, wanted: Container[Cell]) -> dict[Cell, list[str]]:
        """Return the seller's values of the labelled cells of training products in `wanted`."""
        cells = (each for chunk in self._chunks() for each in self.cells(chunk))
        return {cell: values for cell, values, _ in cells if cell in wanted}

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

    def _spoiled_chunks(self, right: Container[Cell]) -> Iterator[pd.DataFrame]:
        for chunk in self._chunks():
            for (row, name), _, wrong in list(self.cells(chunk)):
                if wrong and (row, name) not in right:
                    chunk.at[row, name] = wrong
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
            asked = {tuple(cell) for cell in db.execute("SELECT row, attribute FROM items")}
        decided = _decide(Queue(file, truth.schema), truth.values(asked), looks)
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
        if item is None or item["id"] in skipped:
            break
        cell = (item["row"], item["attribute"])
        if cell not in known:
            skipped.add(item["id"])
            queue.skip(_REVIEWER, item["id"])
            continue
        same = set(item["given"].split(SEPARATOR)) == set(known[cell])
        kind, values = (SELLER, []) if same else (VALUES, known[cell])
        queue.decide(_REVIEWER, item["id"], kind, values)
        decided.add(cell)
    return decided


def _then(config: Config, before: Path, options: SimulateOptions) -> Config:
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
