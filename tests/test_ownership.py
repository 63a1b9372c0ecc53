"""Tests of ownership.py: an output has one owner, as long as that process lives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from attr_extractor import ownership
from attr_extractor.config import Config
from attr_extractor.enrichment.drift import drift
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.migration import migrate
from attr_extractor.enrichment.quality import qualify
from attr_extractor.enrichment.review import export_decisions, server, simulate
from attr_extractor.enrichment.search import build as search
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.evaluation import calibrate, evaluate, learning_curve, sweep
from attr_extractor.evaluation.audit import audit
from attr_extractor.evaluation.explain import explain_photos
from attr_extractor.records import builder, relabel
from attr_extractor.schema import Schema
from attr_extractor.serving import convert, export
from attr_extractor.sources import text as text_source
from attr_extractor.sources import vision_model
from attr_extractor.sources.endpoint import EndpointOptions
from attr_extractor.sources.vision_model import AskOptions
from attr_extractor.training import fit, strategy
from tests.conftest import ROOT, run_tool
from tests.enrichment.by_hand import cell, write_cells
from tests.enrichment.migration.by_hand import MAPPING, NEW_SCHEMA
from tests.records.by_hand import InProcess

OWN = {
    "folder": "ownership.folder(sys.argv[1], 'it')",
    "file": "ownership.file(sys.argv[1], 'it')",
}


def hold(kind: str, path: Path) -> subprocess.Popen:
    """Start a process that owns a path until it is killed."""
    program = (
        "import sys, time; from attr_extractor import ownership\n"
        f"with {OWN[kind]}: print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("kind", OWN)
def test_the_error_names_the_owner_until_it_is_killed(kind, tmp_path):
    path = tmp_path / "out"
    first = hold(kind, path)
    own = getattr(ownership, kind)
    told = rf"out: a Python program \(process {first.pid} on .+, since 20.+\) is writing to it"
    with pytest.raises(TemporaryError, match=told), own(path, "it"):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with own(path, "it"):
        pass
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []  # no lock file


def test_a_created_folder_that_stays_empty_is_removed(tmp_path):
    with ownership.folder(tmp_path / "out", "it"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == [ownership.LOCK]
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_or_a_link_is_the_same_folder(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    with ownership.folder(tmp_path / "out", "it"):
        for other in ("out", "./out/", "link"):
            with pytest.raises(TemporaryError), ownership.folder(other, "it"):
                pass


def test_existing_files_are_kept_and_a_new_folder_must_be_empty(tmp_path):
    (tmp_path / "notes").write_text("x")
    with ownership.folder(tmp_path, "it"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    with pytest.raises(InputError, match="exists already"), ownership.new_folder(tmp_path, "it"):
        pass
    (tmp_path / "new" / "of" / ownership.LOCK).mkdir(parents=True)
    cannot = pytest.raises(InputError, match="cannot be written: Is a directory")
    with cannot, ownership.folder(tmp_path / "new" / "of", "it"):
        pass


def test_a_damaged_lock_file_raises_one_short_line(tmp_path):
    with ownership.folder(tmp_path, "it"):
        (tmp_path / ownership.LOCK).write_bytes(b"\xff\x1b[31m\n" * 100_000)
        with pytest.raises(TemporaryError) as told, ownership.folder(tmp_path, "it"):
            pass
    assert len(str(told.value)) < 500 and str(told.value).isprintable()


def test_competing_threads_own_the_folder_one_at_a_time(tmp_path):
    """The lock file is removed and created repeatedly; two threads must never own it."""
    inside, most, done = 0, 0, 0
    until = time.monotonic() + 2

    def work() -> None:
        nonlocal inside, most, done
        while time.monotonic() < until:
            try:
                with ownership.folder(tmp_path, "it"):
                    inside += 1
                    most = max(most, inside)
                    time.sleep(0.0002)
                    inside -= 1
                    done += 1
            except TemporaryError:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and done > 10


def test_an_exception_of_the_owner_is_not_converted(tmp_path):
    with pytest.raises(BlockingIOError), ownership.folder(tmp_path, "it"):
        raise BlockingIOError("of something else")


@pytest.fixture
def programs(exported, tmp_path):
    """Return the output path and a call of each program that writes."""
    pytest.importorskip("openai", reason="pip install 'attr-extractor[vlm]'")
    shop, folder, schema = exported, tmp_path / "out", Schema.read(exported.schema_file)
    file = tmp_path / "out.csv"
    cells = write_cells(tmp_path / "cells.parquet", [cell()])
    for name, text in (("new", NEW_SCHEMA), ("m", MAPPING), ("rows", "rows: {a: []}")):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    mapping = (tmp_path / "new.yaml", tmp_path / "m.yaml")
    catalogue, config = shop.catalogue, Config.read(shop.config)
    to_run = {"run_dir": shop.run, "records": shop.records, "output_dir": folder}
    other = tmp_path / "other.csv"
    simulated = (catalogue, schema, shop.records, config, folder, InProcess())
    of_model = (EndpointOptions(endpoint="http://127.0.0.1:9", model="m"), AskOptions())
    reviewed = server.ReviewOptions(cells, file, shop.path, schema=shop.schema_file, port=0)
    return {
        "build": (folder, lambda: builder.build(catalogue, schema, folder, runner=InProcess())),
        "relabel": (
            shop.records,
            lambda: relabel.relabel(catalogue, schema, shop.records, InProcess()),
        ),
        "predict": (file, lambda: predict.predict(shop.model, catalogue, file)),
        "predict --cells": (
            file,
            lambda: predict.predict(shop.model, catalogue, other, cells_output=file),
        ),
        "train": (shop.run, lambda: fit.train(config, shop.records, shop.run)),
        "export": (folder, lambda: export.export(shop.run, folder)),
        "evaluate": (shop.run, lambda: evaluate.evaluate(shop.run)),
        "calibrate": (shop.run, lambda: calibrate.calibrate(shop.run)),
        "audit": (file, lambda: audit.audit(shop.run, file)),
        "explain": (
            folder,
            lambda: explain_photos.explain_photos(shop.run, ["a.jpg"], output_dir=folder),
        ),
        "mine_text": (file, lambda: text_source.mine_text(catalogue, schema, file, ["note"])),
        "ask_model": (file, lambda: vision_model.ask_model(catalogue, schema, file, *of_model)),
        "ask_model's cache": (
            folder,
            lambda: vision_model.ask_model(catalogue, schema, file, *of_model, cache=folder),
        ),
        "learning_curve": (shop.run, lambda: learning_curve.measure(shop.run, [0.2, 0.5], folder)),
        "learning_curve's parts": (
            folder,
            lambda: learning_curve.measure(shop.run, [0.2, 0.5], folder),
        ),
        "sweep": (
            folder,
            lambda: sweep.sweep(
                shop.config, tmp_path / "rows.yaml", {"a": shop.records}, [0], folder
            ),
        ),
        "convert": (folder, lambda: convert.convert(shop.model, shop.records, folder, [], 8)),
        "drift": (folder, lambda: drift.drift(catalogue, shop.records, folder)),
        "qualify": (folder, lambda: qualify.qualify(cells, folder, shop.schema_file)),
        "search": (folder, lambda: search.build(shop.model, catalogue, folder)),
        "migrate a table": (
            file,
            lambda: migrate.migrate(*mapping, shop.schema_file, catalogue, file),
        ),
        "migrate a run": (folder, lambda: migrate.migrate(*mapping, **to_run)),
        "review": (file, lambda: server.run(reviewed)),
        "export_decisions": (
            file,
            lambda: export_decisions.export(cells, catalogue, schema, file),
        ),
        "export_decisions --log": (
            file,
            lambda: export_decisions.export(cells, catalogue, schema, other, file),
        ),
        "simulate": (folder, lambda: simulate.simulate(*simulated, simulate.SimulateOptions())),
    }


def test_every_program_raises_one_line_if_its_output_is_owned(programs, tmp_path):
    for name, (place, program) in programs.items():
        own = ownership.folder if place.suffix != ".csv" else ownership.file
        before = sorted(tmp_path.iterdir())
        with own(place, "it"), pytest.raises(TemporaryError) as told:
            program()
        line = rf"{re.escape(str(place))}: .+ \(process {os.getpid()} on .*\) is writing to it.*"
        assert re.fullmatch(line, str(told.value)), name
        assert sorted(tmp_path.iterdir()) == before, name


def test_a_program_exits_with_75_if_its_output_is_owned(tmp_path):
    with ownership.folder(tmp_path / "demo", "it"):
        result = run_tool("make_demo_catalogue", f"--output_dir={tmp_path / 'demo'}")
    assert result.returncode == 75
    line = r"error: .*demo: .*\(process \d+ .*\) is writing to it; .*\n"
    assert re.fullmatch(line, result.stderr)
    assert not (tmp_path / "demo").exists()


def test_only_the_chief_of_several_workers_owns_the_run_directory(trained, monkeypatch):
    """The other workers open the run directory that the chief owns."""
    opened = []

    def stop(shared, *_):
        opened.append((shared.address, shared.owned))
        raise InputError("far enough")

    monkeypatch.setattr(fit, "_open", stop)
    own = strategy.make
    monkeypatch.setattr(
        fit.strategy,
        "make",
        lambda config: strategy.Devices(own(config).strategy, worker=1, workers=2),
    )
    with ownership.folder(trained.run, "it"), pytest.raises(InputError, match="far enough"):
        fit.train(Config.read(trained.config), trained.records, trained.run)
    assert opened == [(trained.run, None)]
