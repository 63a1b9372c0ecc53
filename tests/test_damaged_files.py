"""Tests of randomly damaged files: every reader returns their content or raises one line.

A seed and a number name each damaged file, so a failure can be repeated.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attr_extractor import files, yaml_files
from attr_extractor.catalogue.table import read_catalogue
from attr_extractor.config import Config
from attr_extractor.enrichment.cells import CellsFile
from attr_extractor.enrichment.quality import fill_costs
from attr_extractor.errors import LONGEST, InputError
from attr_extractor.evaluation import (
    calibrate,
    evaluate,
    learning_curve,
    model_card,
    predictions,
    report_curves,
)
from attr_extractor.evaluation.evaluate import _calibration
from attr_extractor.model import network
from attr_extractor.records import builder, check, dataset, index, near_duplicates, plan, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.serving import model_dir
from attr_extractor.training import checkpoints
from attr_extractor.training.run_dir import RunDir
from attr_extractor.web import pages
from tests import mutations
from tests.conftest import Shop, write_table
from tests.enrichment.by_hand import cell, color, write_cells
from tests.records.by_hand import InProcess, build, small_shop

Readers = Callable[[str], "list[Callable[[], object]]"]


class Damaged:
    """A folder whose files are damaged one at a time."""

    def __init__(self, folder: Path, readers: Readers, unread: tuple[str, ...] = ()):
        self.folder, self.readers = folder, readers
        names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        self.whole = {name: (folder / name).read_bytes() for name in names}
        self.names = sorted(name for name in self.whole if not name.startswith(unread))

    def require_lines(self, seed: int, count: int) -> Counter:
        """Damage files one after the other; every exception of a reader must be an InputError."""
        ends: Counter = Counter()
        for number in range(count):
            name = self.names[number % len(self.names)]
            draw = random.Random(f"{seed} {number} {name}")
            mutation = draw.choice(mutations.of_name(name))
            (self.folder / name).write_bytes(mutation(self.whole[name], draw))
            for reader in self.readers(name):
                what = f"seed {seed}, number {number}: {name} by {mutation.__name__}"
                ends[self.end_of(reader, what)] += 1
            self._restore()
        return ends

    def end_of(self, reader: Callable[[], object], what: str) -> str:
        """Return whether a reader refused or read a damaged file."""
        try:
            reader()
        except InputError as error:
            assert len(str(error)) <= LONGEST and len(str(error).splitlines()) == 1, what
            return "refused"
        except Exception as error:
            raise AssertionError(what) from error
        return "read"

    def _restore(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif name not in self.whole:
                path.unlink()
        for name, data in self.whole.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def of_records(folder: Path, schema: Schema) -> Damaged:
    """A small folder of records, read by training, by check_records and by later builds."""
    rows = small_shop(folder, 12)
    records = build(folder, rows, schema, shards=2, split_fractions=(0.5, 0.25, 0.25))
    relabelled = [{**row, "color": "green"} for row in rows]
    table = write_table(folder / "relabelled.csv", relabelled)

    def train() -> None:
        manifest = Manifest.read(records)
        manifest.present("train"), manifest.frequencies("train"), manifest.most_frequent("train")
        manifest.summary(records)
        data = Config(name="test").data.model_copy(update={"image_size": 32, "batch_size": 2})
        dataset.steps_per_epoch(manifest, data)

    def read_shards() -> None:
        manifest = Manifest.read(records)
        with dataset.readable(records):
            for split in ("train", "validation", "test"):
                list(dataset.label_batches(records, manifest, split))

    def build_again() -> None:
        options = plan.from_manifest(Manifest.read(records).build, "manifest.json")
        builder.build(folder / "catalogue.csv", schema, records, None, options, InProcess())

    def write_labels() -> None:
        relabel.relabel(table, schema, records, InProcess())

    def readers(name: str) -> list[Callable[[], object]]:
        if name == near_duplicates.FILE:
            return [lambda: near_duplicates.read(records)]
        whole = draw.choice([lambda: check.check(records), build_again, write_labels])
        return [train, whole] if name == "manifest.json" else [read_shards, whole]

    draw = random.Random(0)
    return Damaged(records, readers, ("report.html", "rejects.csv", "label_issues.csv"))


def of_run(folder: Path, shop: Shop, measured: bool) -> Damaged:
    """A run directory, calibrated and `measured` or not, read by all programs that take one."""
    run_dir = Path(shutil.copytree(shop.run, folder / "run"))
    if measured:
        calibrate.calibrate(run_dir)
        for split in ("validation", "test"):
            evaluate.evaluate(run_dir, split)
    run = RunDir.read(run_dir)
    model_card.write_card(run)
    points = [(100, 0.5, 40), (200, 0.6, 40), (400, 0.7, 40), (800, 0.8, 40)]
    curve = learning_curve._curve(points)
    content = {"points": [{"photos": n} for n, *_ in points], "mean": curve}
    files.write_json(
        run_dir / "learning_curve.json",
        {**content, "attributes": dict.fromkeys(run.schema.names, curve)},
    )
    built = network.build(run.schema, run.config_to_load()).logits

    def metrics() -> None:
        found = RunDir.read(run_dir)
        model_card.write_card(found)
        calibration = _calibration(found, "test")
        render("calibration", report_curves.calibration_section(found.schema, calibration))

    def learning() -> None:
        curve = learning_curve.read(run)
        render("more_labels", report_curves.more_labels_section(run.schema, curve))

    def render(name: str, content: object) -> None:
        if content is not None:
            pages.render(f"evaluation/{name}.html", **{name: content})

    def load() -> None:
        path = run_dir / "weights.npz"
        network.set_layer_arrays(built, files.read_arrays(path), str(path))

    def readers(name: str) -> list[Callable[[], object]]:
        if name == "weights.npz":
            return [load]
        if name == "checkpoints/best.npz":
            return [lambda: checkpoints.read_best(run_dir / name)]
        if name.startswith("checkpoints"):
            return [lambda: checkpoints.newest_step(run_dir / "checkpoints", reports=False)]
        if name.startswith(predictions.FOLDER):  # the arrays have digests
            is_list = name.endswith(predictions.FILE)
            return [lambda: predictions._contents((run_dir / name).parent)] if is_list else []
        if name == "learning_curve.json":
            return [learning]
        if name in ("config.yaml", "schema.yaml", "records.json"):
            return [lambda: RunDir.read(run_dir)]
        return [
            metrics,
            lambda: fill_costs.read_validation(run_dir, run.schema),
            lambda: RunDir.read(run_dir).thresholds(),
        ]

    return Damaged(run_dir, readers, ("logs/", "report"))


def of_model(folder: Path, shop: Shop) -> Damaged:
    """The assets of an exported model, read by every program that takes one."""
    assets = Path(shutil.copytree(shop.model, folder / "model")) / "1" / "assets"
    return Damaged(
        assets, lambda name: [lambda: model_dir.describe(assets.parent)], ("model_card",)
    )


def of_tables(folder: Path, schema: Schema) -> Damaged:
    """A catalogue in three formats, and a table of cells."""
    tables = folder / "tables"
    rows = pd.DataFrame(small_shop(folder, 12)).fillna("")
    tables.mkdir()
    rows.to_csv(tables / "catalogue.csv", index=False)
    rows.to_json(tables / "catalogue.jsonl", orient="records", lines=True)
    rows.to_parquet(tables / "catalogue.parquet")
    write_cells(tables / "cells.parquet", [*map(cell, range(1, 4)), *map(color, range(4, 7))], 4)

    def readers(name: str) -> list[Callable[[], object]]:
        path = tables / name
        if name == "cells.parquet":
            return [lambda: list(CellsFile(path, schema).batches())]
        return [lambda: read_catalogue(path, schema)]

    return Damaged(tables, readers)


def of_graph(folder: Path, shop: Shop) -> Damaged:
    """The files of an exported model that TensorFlow reads, without its assets."""
    version = Path(shutil.copytree(shop.model, folder / "model")) / "1"
    return Damaged(version, lambda name: [lambda: model_dir.load(version)], ("assets",))


def test_damaged_records_raise_one_line(tmp_path: Path, schema: Schema):
    ends = of_records(tmp_path, schema).require_lines(seed=1, count=56)
    assert ends["refused"] > 30 and ends["read"] > 5


def test_a_damaged_run_raises_one_line(tmp_path: Path, trained: Shop):
    ends = of_run(tmp_path, trained, measured=False).require_lines(seed=1, count=200)
    assert ends["refused"] > 50 and ends["read"] > 10


def test_a_damaged_model_raises_one_line(tmp_path: Path, exported: Shop):
    ends = of_model(tmp_path, exported).require_lines(seed=1, count=100)
    assert ends["refused"] > 50 and ends["read"] > 2
    ends = of_graph(tmp_path / "graph", exported).require_lines(seed=1, count=4)
    assert ends["refused"] > 0


def test_a_damaged_table_raises_one_line(tmp_path: Path, schema: Schema):
    ends = of_tables(tmp_path, schema).require_lines(seed=1, count=400)
    assert ends["refused"] > 100 and ends["read"] > 50


@pytest.mark.slow
def test_150_damaged_files_of_records_raise_one_line(tmp_path: Path, schema: Schema):
    of_records(tmp_path, schema).require_lines(seed=2, count=150)


@pytest.mark.slow
def test_850_damaged_files_of_a_run_raise_one_line(tmp_path: Path, trained: Shop):
    of_run(tmp_path, trained, measured=True).require_lines(seed=2, count=850)


@pytest.mark.slow
def test_250_damaged_files_of_a_model_raise_one_line(tmp_path: Path, exported: Shop):
    of_model(tmp_path, exported).require_lines(seed=2, count=242)
    of_graph(tmp_path / "graph", exported).require_lines(seed=2, count=8)


def test_a_bug_after_the_parser_keeps_its_traceback(tmp_path: Path, trained: Shop, monkeypatch):
    """Exceptions raised after the parser's call are not blamed on the file."""

    def mistaken(*_arguments: object, **_options: object) -> None:
        raise TypeError("ours")

    run_dir, records = trained.run, str(trained.records)
    shard = Manifest.read(records).splits["train"].shards[0].name
    behind = {  # per format what comes after its parser, and a reader
        "yaml": (yaml_files, "validate", lambda: Config.read(run_dir / "config.yaml")),
        "json": (yaml_files, "validate", lambda: Manifest.read(records)),
        "npz": (network, "layer_arrays", lambda: RunDir.read(run_dir).load_network()),
        "npz arrays": (np, "isfinite", lambda: files.read_arrays(run_dir / "weights.npz")),
        "parquet": (yaml_files, "validate", lambda: index.read_summary(records, shard)),
        "checkpoint": (checkpoints, "saved_steps", lambda: checkpoints.newest_step(run_dir)),
    }
    for module, name, reader in behind.values():
        with monkeypatch.context() as patch:
            patch.setattr(module, name, mistaken)
            with pytest.raises(TypeError, match="ours"):
                reader()
