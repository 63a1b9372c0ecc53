"""Tests of the build program under SIGKILL and on a full disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attr_extractor.catalogue.splits import SPLITS
from attr_extractor.records.manifest import Manifest
from tests import forked_tools
from tests.conftest import ROOT, SCHEMA, require_bad_input, write_table
from tests.records.by_hand import contents, read_split, row

pytestmark = pytest.mark.slow
COUNT = 300  # products


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, its schema and photos that take some milliseconds each to decode."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "schema.yaml").write_text(SCHEMA)
    noise = np.random.default_rng(0).integers(0, 256, [60, 60, 3], np.uint8)
    photo, rows = Image.fromarray(noise).resize((800, 800)), []
    for i in range(COUNT):
        if i % 20 == 0:  # the bytes of each are its own all the same
            photo = photo.transpose(Image.Transpose.ROTATE_90 if i % 40 else 0)
            photo.save(folder / "drawn.jpg")
            data = (folder / "drawn.jpg").read_bytes()
        comment = f"photo {i}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{i}.jpg").write_bytes(data[:2] + segment + data[2:])
        rows.append(row(f"p{i}", f"{i}.jpg", color=("red", "rad", "")[i % 3]))
    write_table(folder / "catalogue.csv", rows)
    write_table(folder / "few.csv", rows[:30])
    return folder


def command(catalogue: Path, records: Path) -> list[str]:
    flags = {
        "catalogue": catalogue / "catalogue.csv",
        "schema": catalogue / "schema.yaml",
        "output_dir": records,
        "image_size": 64,
        "shards": 24,
        "num_workers": 2,
    }
    tool = str(ROOT / "tools" / "build_tfrecords.py")
    return [sys.executable, tool, *(f"--{name}={value}" for name, value in flags.items())]


def start(catalogue: Path, records: Path) -> forked_tools.Program:
    """The program in a session of its own, which holds its workers too."""
    _, tool, *flags = command(catalogue, records)
    return forked_tools.Program(Path(tool), flags, ROOT, new_session=True)


def finish(program: forked_tools.Program) -> str:
    out, err = program.communicate()
    assert program.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def undisturbed(catalogue: Path, tmp_path_factory) -> dict[str, bytes]:
    """The files of a build that nothing interrupts."""
    records = tmp_path_factory.mktemp("undisturbed") / "records"
    out = finish(start(catalogue, records))
    assert f"{COUNT} rows read = {COUNT} written + 0 rejected" in out
    return contents(records)


def require_whole(records: Path, expected: dict[str, bytes]) -> None:
    assert contents(records) == expected
    assert not (records / "work").exists()
    found = Counter(e["product_id"] for split in SPLITS for e in read_split(records, split))
    assert found == Counter(f"p{i}".encode() for i in range(COUNT))


def files(records: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(records))


def test_a_program_killed_seven_times_resumes_to_the_same_result(
    catalogue: Path, undisturbed, tmp_path: Path
):
    records, draw, shards = tmp_path / "records", random.Random(0), []
    while len(shards) < 7:
        program, before = start(catalogue, records), files(records)
        to_come = len(undisturbed) - len(list(records.glob("*.tfrecord")))
        more, moment = draw.randrange(to_come // 2), draw.uniform(0, 0.2)
        while program.poll() is None and files(records) - before < more:
            time.sleep(0.01)
        time.sleep(moment)
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            shards.append(len(list(records.glob("*.tfrecord"))))
        program.communicate()
        if (records / "manifest.json").exists():  # done: once more from the beginning
            require_whole(records, undisturbed)
            shutil.rmtree(records)
    finish(start(catalogue, records))
    require_whole(records, undisturbed)
    assert len(set(shards)) > 2, shards  # some before the first, some between


def test_workers_exit_if_the_main_process_is_killed(catalogue: Path, undisturbed, tmp_path: Path):
    records = tmp_path / "records"
    program = start(catalogue, records)
    while not list(records.glob("*.tfrecord")):
        assert program.poll() is None
        time.sleep(0.02)
    program.kill()  # as the kernel does where memory ends; its workers are not told
    program.wait()
    finish(start(catalogue, records))
    require_whole(records, undisturbed)
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    raise AssertionError("workers of the killed program were still there")


# Full disks

ON_TMPFS = """
import json, subprocess, sys, traceback
from pathlib import Path
from attr_extractor.errors import InputError
from attr_extractor.records import builder, plan
from attr_extractor.schema import Schema
from tests.records.by_hand import InProcess, contents

shop, disk, results = Path(sys.argv[1]), Path(sys.argv[2]), []
schema, options = Schema.read(shop / "schema.yaml"), plan.BuildOptions(image_size=64, shards=4)

def mount(*arguments):
    subprocess.run(["mount", "-o", *arguments, "tmpfs", disk], check=True)

def build(records):
    builder.build(shop / "few.csv", schema, records, None, options, InProcess())
    found = contents(records)
    del found["manifest.json"], found["report.html"]  # say how many rows were there already
    return found

expected = build(disk / "expected")
for kib in json.loads(sys.argv[3]):
    mount(f"size={kib}k", "-t", "tmpfs")
    message = "written"
    try:
        build(disk / "records")
    except InputError as error:
        message = str(error)
    except BaseException:
        message = traceback.format_exc()
    left = [str(path) for path in disk.rglob("*.tmp")]
    mount("size=100m,remount")
    results.append([kib, message, left, build(disk / "records") == expected])
    subprocess.run(["umount", disk], check=True)
print(json.dumps(results))
"""


def in_namespace(*arguments: str) -> list[str]:
    """A command that may mount what it likes, where nobody else sees it."""
    inside = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("this machine lets no user mount a file system of its own")
    return [*inside, *arguments]


def test_a_full_disk_gives_one_line_and_the_next_run_completes(catalogue: Path, tmp_path: Path):
    sizes = [*range(4, 400, 16), 4000]  # KiB
    result = subprocess.run(
        in_namespace(
            *(sys.executable, "-c", ON_TMPFS, str(catalogue), str(tmp_path), json.dumps(sizes))
        ),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    results = json.loads(result.stdout.splitlines()[-1])
    places = set()
    for kib, message, left, completed in results:
        where, _, why = message.partition(": cannot be ")
        assert message == "written" or why.endswith("No space left on device"), (kib, message)
        assert left == [] and completed, (kib, message, left)
        places.add(Path(where).suffix)
    assert {".tfrecord", ".parquet"} <= places and results[-1][1] == "written"


PROGRAM_ON_TMPFS = """
mount -t tmpfs -o size=300k tmpfs "$1" && shift_records="$1/records" && shift
"$@" 2> "$ERRORS"; echo $? > "$CODE"
find "$shift_records" -name '*.tmp' >> "$CODE"
mount -o remount,size=100m "${shift_records%/records}"
"$@" && cp -r "$shift_records" "$SAVED"
"""


def test_the_program_exits_with_2_on_a_full_disk_and_resumes(
    catalogue: Path, undisturbed, tmp_path: Path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    names = {name: str(tmp_path / name.lower()) for name in ("ERRORS", "CODE", "SAVED")}
    build = command(catalogue, disk / "records")
    second = subprocess.run(
        in_namespace("sh", "-c", PROGRAM_ON_TMPFS, "sh", str(disk), *build),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **names},
        capture_output=True,
        text=True,
        check=False,
    )
    code, *left = (tmp_path / "code").read_text().split()
    errors = (tmp_path / "errors").read_text()
    first = subprocess.CompletedProcess(build, int(code), "", errors)
    require_bad_input(first, "cannot be written: ", "No space left on device")
    assert left == []
    assert second.returncode == 0, second.stderr
    require_whole(tmp_path / "saved", undisturbed)
    assert Manifest.read(tmp_path / "saved").rows["written"] == COUNT
