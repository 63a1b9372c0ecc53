"""Tests of tools/*.py: --help, and bad input in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attr_extractor.config import Config
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.conftest import ROOT, SCHEMA, require_bad_input, run_tool, write_table

# TensorFlow 2.21 writes these lines when it is loaded, regardless of TF_CPP_MIN_LOG_LEVEL
NATIVE_LOG = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} [\d:.]+ +\d+ \w+\.cc:\d+\] "
)
PROGRAMS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_shows_an_example_and_prints_no_errors(name):
    result = run_tool(name, "--help")
    script = (ROOT / "tools" / f"{name}.py").read_text(encoding="utf-8")
    verb = re.search(r'cli\.run\("(.*)"\)', script)
    command = f"attr-extractor {verb[1]}" if verb else f"python tools/{name}.py"
    assert f"{command} --" in result.stdout
    assert "--config" in result.stdout or name not in ("train", "sweep", "bench")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_new_interpreter_prints_nothing_while_it_loads_tensorflow():
    """Unlike `run_tool`, which forks a process with TensorFlow loaded."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert [line for line in result.stderr.splitlines() if not NATIVE_LOG.match(line)] == []
    assert result.returncode == 0


@pytest.mark.parametrize("name", ["bench", "soak"])
def test_programs_that_use_benchmarks_require_a_checkout(name, tmp_path):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "attr_extractor").symlink_to(ROOT / "attr_extractor")
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / f"{name}.py", tmp_path / "tools")
    flags = [f"--model={tmp_path}", f"--photos={tmp_path}"] if name == "soak" else ["--what=what"]

    def run(folder: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(folder / "tools" / f"{name}.py"), *flags],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        )

    words = "contains no version folders" if name == "soak" else "value should be one of"
    require_bad_input(run(ROOT), words)
    require_bad_input(run(tmp_path), "this program needs a checkout: its folder benchmarks/")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--colour=red"], ["Unknown command line flag 'colour'", "--help lists the flags"]),
        ([], ["--catalogue", "must have a value other than None"]),
        (
            ["--catalogue=a", "--output=b", "c"],
            ["unexpected argument 'c'", "every option is a flag"],
        ),
    ],
)
def test_invalid_flags_are_reported_in_one_line(arguments, words):
    require_bad_input(run_tool("infer_schema", *arguments), *words)


def train(shop, *more: str, records: Path | None = None, run: Path | None = None):
    flags = [f"--config={shop.config}", f"--records={records or shop.records}"]
    return run_tool("train", *flags, f"--run_dir={run or shop.run}", *more)


def test_train_needs_its_config(tmp_path):
    missing = tmp_path / "nowhere.yaml"
    result = run_tool(
        "train", f"--config={missing}", "--records=r", f"--run_dir={tmp_path / 'run'}"
    )
    require_bad_input(result, f"{missing}: the config file does not exist")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoks=3", ["train.epoks: unknown key; did you mean 'epochs'?"]),
        ("train.epochs=many", ["train.epochs:", "not 'many'"]),
    ],
)
def test_train_names_the_invalid_key_of_set(built, tmp_path, override, words):
    result = train(built, "--set", override, run=tmp_path / "run")
    require_bad_input(result, *words)
    assert not (tmp_path / "run").exists()


def test_train_rejects_records_of_an_unfinished_build(built, tmp_path):
    records = tmp_path / "records"
    shutil.copytree(built.records, records, ignore=shutil.ignore_patterns("manifest.json"))
    result = train(built, records=records, run=tmp_path / "run")
    require_bad_input(result, f"{records}: no manifest.json found", "its build did not finish")
    assert not (tmp_path / "run").exists()


def test_train_rejects_a_truncated_shard(built, tmp_path):
    records = tmp_path / "records"
    shutil.copytree(built.records, records)
    shard = sorted(records.glob("train-*.tfrecord"))[0]
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-100])
    result = train(built, records=records, run=tmp_path / "run")
    require_bad_input(result, f"{shard}: the shard has {size - 100:,} bytes", f"says {size:,}")
    assert not (tmp_path / "run").exists()


def test_train_does_not_change_a_run_of_another_config(trained):
    before = {p: p.stat().st_mtime_ns for p in trained.run.rglob("*")}
    result = train(trained, "--set", "train.learning_rate=0.5")
    require_bad_input(result, f"{trained.run}: contains a run of another config", "name a new run")
    assert {p: p.stat().st_mtime_ns for p in trained.run.rglob("*")} == before


def test_train_does_not_change_a_folder_that_is_not_a_run(built, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    require_bad_input(train(built, run=tmp_path), f"{tmp_path}: exists and is not a run directory")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture(scope="module")
def untrained(built, tmp_path_factory) -> Path:
    """A run directory as an interrupted training leaves it: no weights yet."""
    path = tmp_path_factory.mktemp("untrained") / "run"
    manifest = Manifest.read(built.records)
    RunDir.create(path, Config.read(built.config), built.records, manifest)
    return path


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "export_savedmodel"])
def test_programs_require_a_trained_run_directory(name, untrained, tmp_path):
    more = [f"--output_dir={tmp_path / 'models'}"] if name == "export_savedmodel" else []
    result = run_tool(name, f"--run_dir={tmp_path}", *more)
    require_bad_input(result, f"{tmp_path}: not a run directory: it has no config.yaml")
    result = run_tool(name, f"--run_dir={untrained}", *more)
    require_bad_input(result, f"{untrained}/weights.npz: the run's weights (is it trained?)")
    assert list(tmp_path.iterdir()) == []


def test_evaluate_rejects_records_of_another_schema(trained, tmp_path):
    shutil.copytree(trained.records, tmp_path / "records")
    path = tmp_path / "records" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8").replace("no neck", "polo neck"))
    other = Schema.parse(SCHEMA.replace("no neck", "polo neck"), "test")
    manifest.update(schema_yaml=other.to_yaml(), fingerprint=other.fingerprint)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    result = run_tool("evaluate", f"--run_dir={trained.run}", f"--records={tmp_path / 'records'}")
    require_bad_input(result, str(path), "another schema", other.fingerprint)


def test_evaluate_suggests_the_nearest_split(trained):
    result = run_tool("evaluate", f"--run_dir={trained.run}", "--split=tset")
    require_bad_input(result, "there is no split 'tset'; did you mean 'test'?", "validation")


def test_calibrate_lists_the_goals(trained):
    result = run_tool("calibrate", f"--run_dir={trained.run}", "--goal=precison:0.9")
    require_bad_input(result, "not one of f1, equation_2, precision:0.95", "mean 'precision'?")


@pytest.fixture
def table(shop, tmp_path) -> Path:
    return write_table(tmp_path / "new.csv", [{"product_id": "a", "image": "a.jpg"}])


def test_predict_needs_a_model_of_this_package(built, table, tmp_path):
    more = [f"--catalogue={table}", f"--output={tmp_path / 'out.csv'}"]
    result = run_tool("predict", f"--model={built.records}", *more)
    require_bad_input(result, f"{built.records}: not a SavedModel")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "saved_model.pb").write_bytes(b"")
    result = run_tool("predict", f"--model={tmp_path / 'foreign'}", *more)
    require_bad_input(result, "foreign/assets/model.json", "does not exist")
    assert not (tmp_path / "out.csv").exists()


def test_predict_needs_a_table_and_a_new_output(exported, table, tmp_path):
    model = f"--model={exported.model}"
    missing = tmp_path / "gone.csv"
    result = run_tool("predict", model, f"--catalogue={missing}", f"--output={tmp_path / 'o.csv'}")
    require_bad_input(result, f"{missing}: the catalogue does not exist")
    before = table.read_bytes()
    result = run_tool("predict", model, f"--catalogue={table}", f"--output={table}")
    require_bad_input(result, f"{table}: exists already; name a new file or remove it")
    assert table.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
