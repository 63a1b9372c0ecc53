"""Tests of programs that write several files: after a kill at any step, the same call resumes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attr_extractor.config import Config
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.migration import migrate
from attr_extractor.enrichment.review.export_decisions import export
from attr_extractor.errors import InputError
from attr_extractor.records import relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.conftest import write_table
from tests.enrichment.by_hand import cell
from tests.enrichment.migration.by_hand import MAPPING, NEW_SCHEMA
from tests.enrichment.review.test_export_decisions import ADA, HEADER, decide, rows, write_rows
from tests.records.by_hand import InProcess


class Killed(BaseException):
    """Simulates SIGKILL: no `except` clause catches it, and only locks are released."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Kill the process before its rename or removal number `step`, from 0."""
    steps = iter(range(10_000))

    def counted(real: Callable) -> Callable:
        def call(*arguments: object) -> None:
            if next(steps) >= step:
                raise Killed
            real(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(os, "remove", counted(os.remove))
        yield


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files, with the path of the folder replaced."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(os.fsencode(folder), b"HERE")
        for path in paths
    }


def require_resumes(tmp_path: Path, program: Callable[[Path], object]) -> int:
    """Kill `program` before each of its steps and rerun it; return the number of steps."""
    whole = tmp_path / "whole"
    whole.mkdir()
    program(whole)
    for step in range(100):
        folder = tmp_path / f"{step:05}"
        folder.mkdir()
        try:
            with killed_at(step):
                program(folder)
        except Killed:
            program(folder)
            assert content(folder) == content(whole), step
        else:
            return step
    raise AssertionError("it never ends")


def test_export_decisions_with_a_log(schema, tmp_path):
    catalogue = write_rows(tmp_path / "table.csv", HEADER, rows())
    decisions = decide(schema, tmp_path, [cell(2)], [(ADA, "p001", "neck_type", "none", [])])
    steps = require_resumes(
        tmp_path,
        lambda folder: export(decisions, catalogue, schema, folder / "a.csv", folder / "log.csv"),
    )
    assert steps >= 4  # the job, two files, the end of the job
    with pytest.raises(InputError, match=r"a.csv: exists already"):
        export(decisions, catalogue, schema, tmp_path / "whole/a.csv", tmp_path / "whole/log.csv")


def test_an_unfinished_export_with_other_outputs_is_not_resumed(schema, tmp_path):
    catalogue = write_rows(tmp_path / "table.csv", HEADER, rows())
    decisions = decide(schema, tmp_path, [cell(2)], [(ADA, "p001", "neck_type", "none", [])])
    with pytest.raises(Killed), killed_at(2):
        export(decisions, catalogue, schema, tmp_path / "a.csv", tmp_path / "log.csv")
    with pytest.raises(
        InputError, match="unfinished export that differs in its set of outputs; finish it"
    ):
        export(decisions, catalogue, schema, tmp_path / "a.csv", tmp_path / "other.csv")
    (tmp_path / "notes.csv").write_text("the user's own")
    with pytest.raises(InputError, match="notes.csv: exists already"):
        export(decisions, catalogue, schema, tmp_path / "b.csv", tmp_path / "notes.csv")
    assert not (tmp_path / "b.csv").exists() and not (tmp_path / "b.csv.parts").exists()


def test_predict_with_cells(exported, tmp_path):
    names = sorted(path.name for path in (exported.path / "images").glob("*.jpg"))[:3]
    table = [
        {"product_id": name, "image": name, "category": "", "neck_type": "", "color": ""}
        | {"closure": ""}
        for name in names
    ]
    catalogue = write_table(tmp_path / "table.csv", table)

    def program(folder: Path) -> None:
        outputs = {"output": folder / "a.csv", "cells_output": folder / "cells.parquet"}
        root = exported.path / "images"
        predict.predict(exported.model, catalogue, image_root=root, **outputs)

    assert require_resumes(tmp_path, program) >= 8


@pytest.mark.slow
def test_migrate_a_run_and_its_table(trained, tmp_path):
    for name, text in (("new", NEW_SCHEMA), ("m", MAPPING)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    mapping = (tmp_path / "new.yaml", tmp_path / "m.yaml")
    table, records = tmp_path / "table.csv", tmp_path / "records"
    migrate.migrate(*mapping, trained.schema_file, trained.catalogue, table)
    shutil.copytree(trained.records, records)
    relabel.relabel(table, Schema.read(mapping[0]), records, InProcess())

    def program(folder: Path) -> None:
        of_run = {"run_dir": trained.run, "records": records, "output_dir": folder / "start"}
        of_table = {"catalogue": trained.catalogue, "output": folder / "table.csv"}
        migrate.migrate(*mapping, **of_table, **of_run)

    assert require_resumes(tmp_path, program) >= 7
    with pytest.raises(InputError, match=r"table.csv: exists already"):
        program(tmp_path / "whole")
    (tmp_path / "whole" / "table.csv").unlink()
    (tmp_path / "whole" / "start" / "report.html").write_text("")  # it has been used since
    with pytest.raises(InputError, match=r"start: exists already"):
        program(tmp_path / "whole")


def test_an_interrupted_creation_of_a_run_directory_is_completed(built, tmp_path):
    config, manifest = Config.read(built.config), Manifest.read(built.records)
    program = lambda folder: RunDir.create(folder / "run", config, built.records, manifest)  # noqa: E731
    assert require_resumes(tmp_path, program) == 4
    mine = tmp_path / "mine"
    (mine / "logs").mkdir(parents=True)
    (mine / "schema.yaml").write_text("the user's own")
    with pytest.raises(InputError, match="mine: exists and is not a run directory"):
        RunDir.create(mine, config, built.records, manifest)
    assert (mine / "schema.yaml").read_text() == "the user's own"


@pytest.mark.parametrize("number", range(4))
def test_a_full_disk_during_the_creation_of_a_run_raises_one_line(
    built, tmp_path, monkeypatch, number
):
    config, manifest = Config.read(built.config), Manifest.read(built.records)
    real, calls = os.fsync, iter(range(100))

    def fsync(file):
        if next(calls) == number:
            raise OSError(28, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match=r"run/\S+: cannot be written: No space left"):
            RunDir.create(tmp_path / "run", config, built.records, manifest)
    assert RunDir.create(tmp_path / "run", config, built.records, manifest).config == config
