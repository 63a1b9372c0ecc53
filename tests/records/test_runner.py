"""Tests of `records/runner.py`: local processes and Beam give the same result."""

from __future__ import annotations

import functools
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from attr_extractor import errors
from attr_extractor.errors import InputError
from attr_extractor.records import builder, plan, runner
from attr_extractor.schema import Schema
from tests.buckets import free_port
from tests.conftest import ROOT, Shop, require_bad_input
from tests.records.by_hand import Killer, build, contents, small_shop

# The tasks are scripts, as other processes need not import this file to run them
MARK = "__import__('os').mkdir({!r}); open({!r} + str(__import__('os').getpid()), 'w').close()"
DIE = "__import__('os').kill(__import__('os').getpid(), 9)"


def scripts(folder: Path, *texts: str) -> list[str]:
    paths = [folder / f"{i}.py" for i in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text)
    return [str(path) for path in paths]


def test_local_runs_every_task_once_in_worker_processes(tmp_path: Path):
    pids = tmp_path / "pids"
    pids.mkdir()
    marks = [str(tmp_path / f"task {i}") for i in range(20)]
    tasks = scripts(tmp_path, *(MARK.format(mark, f"{pids}/") for mark in marks))
    with runner.Local(num_workers=2) as local:
        for part in (tasks[:15], [], tasks[15:]):  # the processes stay for the next work
            local.run(runpy.run_path, part, "marking")
    assert all(Path(mark).is_dir() for mark in marks)  # os.mkdir would not do it twice
    found = {int(path.name) for path in pids.iterdir()}
    assert 1 <= len(found) <= 2 and os.getpid() not in found


def test_bad_input_in_a_worker_raises_in_the_main_process(tmp_path: Path):
    work = functools.partial(errors.require_file, what="the photo")
    with runner.Local(1) as local, pytest.raises(InputError, match="lost.jpg: the photo does not"):
        local.run(work, [__file__, str(tmp_path / "lost.jpg")], "reading")


def test_a_killed_worker_gives_one_line_with_advice(tmp_path: Path):
    with runner.Local(1) as local, pytest.raises(InputError) as caught:
        local.run(runpy.run_path, scripts(tmp_path, "pass", DIE, "pass"), "writing shards")
    for words in ("writing shards: a worker process was killed", "to resume", "--num_workers=1"):
        assert words in str(caught.value)


# Beam


@pytest.fixture(scope="module")
def beam() -> runner.Beam:
    """The DirectRunner, in this process."""
    pytest.importorskip("apache_beam")
    return runner.Beam([])


def test_beam_builds_the_same_records_as_local(beam, built: Shop, schema: Schema, tmp_path: Path):
    options = plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2))
    records = tmp_path / "records"
    with beam:
        builder.build(built.catalogue, schema, records, built.path, options, beam)
    assert contents(records) == contents(built.records)


def test_a_beam_build_resumes_an_interrupted_build(beam, tmp_path: Path, schema: Schema):
    rows = small_shop(tmp_path, 10)
    with Killer(at=30):
        build(tmp_path, rows, schema)
    killed = contents(tmp_path / "records")
    assert any(name.endswith(".tfrecord") for name in killed) and "manifest.json" not in killed
    records = build(tmp_path, rows, schema, beam)
    assert contents(records) == contents(build(tmp_path, rows, schema, records=tmp_path / "whole"))


def test_bad_input_on_beam_raises_in_the_main_process(beam, tmp_path: Path, caplog):
    work = functools.partial(errors.require_file, what="the photo")
    with pytest.raises(InputError, match="lost.jpg: the photo does not exist"):
        beam.run(work, [str(tmp_path / "lost.jpg")], "reading")
    assert not [r for r in caplog.records if r.exc_info]  # no traceback in Beam's log


def test_a_bug_on_beam_keeps_its_traceback(beam, caplog):
    with pytest.raises(ZeroDivisionError):
        beam.run(_bug, ["task"], "dividing")
    assert any(r.exc_info and r.exc_info[0] is ZeroDivisionError for r in caplog.records)


def _bug(_task: str) -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("flags", [["--runner=NoSuchRunner"], ["runner=FlinkRunner"]], ids=str)
def test_an_unknown_beam_flag_is_bad_input_before_any_work(beam, flags: list[str]):
    with pytest.raises(InputError, match="NoSuchRunner|runner=FlinkRunner"):
        runner.Beam(flags)


def test_a_missing_job_service_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(runner, "_ANSWERS_WITHIN", 0.2)
    endpoint = f"localhost:{free_port()}"
    with pytest.raises(errors.TemporaryError, match=f"{endpoint}: no job service answers there"):
        runner.Beam(["--runner=PortableRunner", f"--job_endpoint={endpoint}"])


REMOTE = """Pipeline job-1 failed in state FAILED: Error running pipeline.
Traceback (most recent call last):
  File "tasks.py", line 91, in write_shard
attr_extractor.errors.{}: /a.jpg: [odd] name [while running 'reading'{}]

During handling of the above exception, another exception occurred:
ValueError: another [while running 'reading']
"""


@pytest.mark.parametrize(
    "text, kind, message",
    [
        (REMOTE.format("InputError", ""), errors.InputError, "/a.jpg: [odd] name"),
        (REMOTE.format("TemporaryError", "-1"), errors.TemporaryError, "/a.jpg: [odd] name"),
        (
            "failed\nRuntimeError: a worker",
            errors.TemporaryError,
            "reading: Beam's job failed: a worker; rerun the command to resume",
        ),
        (
            '<RPC that\n details = "Socket closed"\n>',
            errors.TemporaryError,
            "reading: Beam's job failed: Socket closed; rerun the command to resume",
        ),
        ("ValueError: x [while running 'reading']", RuntimeError, "ValueError: x [while running"),
    ],
)
def test_the_error_of_a_remote_job(
    beam, monkeypatch: pytest.MonkeyPatch, text: str, kind: type, message: str
):
    import apache_beam

    def fail(*_: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(apache_beam.Pipeline, "__exit__", fail)
    with pytest.raises(Exception) as caught:
        beam.run(len, ["task"], "reading")
    assert type(caught.value) is kind and str(caught.value).startswith(message)


WITHOUT_BEAM = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "apache_beam":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_beam_one_line_says_how_to_install_it(shop: Shop, tmp_path: Path):
    flags = {"catalogue": shop.catalogue, "schema": shop.schema_file, "output_dir": tmp_path / "r"}
    result = subprocess.run(
        [
            *(sys.executable, "-c", WITHOUT_BEAM, str(ROOT / "tools" / "build_tfrecords.py")),
            *("--runner=beam", *(f"--{name}={value}" for name, value in flags.items())),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    require_bad_input(result, "Apache Beam", "pip install 'attr-extractor[beam]'")
    assert not (tmp_path / "r").exists()
