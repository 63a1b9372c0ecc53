"""Tests of tools/review.py and tools/export_decisions.py as programs."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, require_bad_input, run_tool
from tests.enrichment.by_hand import cell, write_cells
from tests.enrichment.review.by_hand import HOLDERS
from tests.web.running import ask


def flags(shop, folder: Path, **changes: object) -> list[str]:
    """Return the flags of review.py for cells of the shop."""
    cells = folder / "cells.parquet"
    if not cells.exists():
        write_cells(cells, [cell(i) for i in range(1, 100)])
    given = {
        "cells": cells,
        "decisions": folder / "decisions.sqlite",
        "image_root": shop.path,
        "schema": shop.schema_file,
        "port": 0,
        **changes,
    }
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run review.py; yield the process and the address of the page; kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "review.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        address = ""
        while not address:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            address = "".join(re.findall(r"review page: (http\S+)", line))
        yield process, address
    finally:
        process.kill()
        process.communicate()


def decide(address: str, item: int) -> int:
    queue = json.loads(ask(f"{address}api/page")[1])["queue"]
    body = {"reviewer": "Ada", "holder": HOLDERS["Ada"], "queue": queue}
    body.update(item=item, kind="none")
    return ask(f"{address}api/decide", body)[0]


def decided(folder: Path) -> set[int]:
    with sqlite3.connect(folder / "decisions.sqlite") as db:
        found = {item for (item,) in db.execute("SELECT item FROM decisions")}
    db.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_program_cleanly(shop, tmp_path, number):
    with program(*flags(shop, tmp_path)) as (process, address):
        assert decide(address, 1) == 200
        process.send_signal(number)
        out, error = process.communicate(timeout=30)
        assert process.returncode == 0
        assert out == "stopped; all decisions are in the decisions file\n"
        assert "Traceback" not in error
    assert decided(tmp_path) == {1}
    assert not list(tmp_path.glob("*.sqlite-*"))  # no journal, so the file can be moved


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_confirmed_decision_is_lost(shop, tmp_path, number):
    for attempt in range(3):
        answered: list[int] = []
        enough = threading.Event()
        with program(*flags(shop, tmp_path)) as (process, address):

            def review(address=address, answered=answered, enough=enough, attempt=attempt) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    for item in range(1 + 33 * attempt, 34 + 33 * attempt):
                        if decide(address, item) == 200:
                            answered.append(item)
                        if len(answered) == 5:
                            enough.set()

            thread = threading.Thread(target=review)
            thread.start()
            assert enough.wait(30)
            process.send_signal(number)
            thread.join()
            process.wait(30)
        assert set(answered) <= decided(tmp_path)


def test_invalid_input_is_reported_in_one_line(shop, tmp_path):
    result = run_tool("review", *flags(shop, tmp_path, host="0.0.0.0"))
    require_bad_input(result, "--host=0.0.0.0 is open to other machines: pass --token_file")


def test_tensorflow_is_loaded_only_for_a_model_or_a_run(shop, tmp_path):
    script = (
        "import sys; from attr_extractor.enrichment.review import server\n"
        "server.Server(server.ReviewOptions(*sys.argv[1:]))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    write_cells(tmp_path / "cells.parquet", [cell()])
    paths = (tmp_path / "cells.parquet", tmp_path / "decisions.sqlite")
    given = [*paths, shop.path, shop.schema_file]
    command = [sys.executable, "-c", script, *map(str, given)]
    result = subprocess.run(command, cwd=ROOT, check=False)
    assert result.returncode == 0


@pytest.mark.slow
def test_schema_from_an_exported_model_and_heat_maps_from_a_run(exported, tmp_path):
    given = flags(exported, tmp_path, schema=None, model=exported.model, run_dir=exported.run)
    with program(*given) as (_, address):
        assert decide(address, 1) == 200
        status, picture, _ = ask(f"{address}heat/2/0?value=v-neck")
        assert status == 200 and picture.startswith(b"\xff\xd8\xff")


def test_decisions_are_exported(shop, tmp_path):
    with program(*flags(shop, tmp_path)) as (process, address):
        assert decide(address, 1) == 200
        process.terminate()
        process.wait(30)
    asked = [
        *(f"--decisions={tmp_path}/decisions.sqlite", f"--catalogue={shop.catalogue}"),
        *(f"--schema={shop.schema_file}", f"--output={tmp_path}/out.csv"),
    ]
    result = run_tool("export_decisions", *asked, f"--log={tmp_path}/log.csv")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "120 rows, 1 decisions (1 none)",
        "1 cells changed: 1 of neck_type",
        f"corrected table: {tmp_path}/out.csv",
    ]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2
    require_bad_input(run_tool("export_decisions", *asked), "out.csv: exists already")
