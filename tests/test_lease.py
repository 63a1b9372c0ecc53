"""Tests of lease.py: of several programs one holds the lock, until it ends or stops renewing it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from attr_extractor import lease, ownership, storage
from attr_extractor.errors import TemporaryError
from tests.conftest import ROOT


@pytest.fixture
def fast(monkeypatch):
    """A lease of two seconds."""
    monkeypatch.setattr(lease, "BEAT", 0.3)
    monkeypatch.setattr(lease, "LEASE", 2.0)


def held(bucket: str):
    return lease.held(f"{bucket}/.lock", bucket, "the owner")


def test_the_lock_of_an_owner_is_exclusive_and_is_removed(bucket: str):
    with held(bucket):
        assert storage.names(bucket) == [".lock-000001"]
        told = f"{bucket}: the owner is writing to it; wait"
        with pytest.raises(TemporaryError, match=told), held(bucket):
            pass
    assert storage.names(bucket) == []
    with held(bucket):
        pass


def test_an_owner_renews_its_lock(fast, bucket: str):
    with held(bucket):
        time.sleep(2.5)
        with pytest.raises(TemporaryError), held(bucket):
            pass


def test_a_lock_that_is_not_renewed_is_taken_over(fast, bucket: str):
    storage.write(f"{bucket}/.lock-000007", b"a killed program\nid")
    with pytest.raises(TemporaryError, match="a killed program is writing to it"), held(bucket):
        pass
    time.sleep(2.5)
    with held(bucket):
        assert storage.names(bucket) == [".lock-000008"]


def test_an_owner_that_was_suspended_stops(fast, bucket: str):
    with pytest.raises(TemporaryError, match="its lock was not renewed"), held(bucket) as first:
        first.require()
        storage.write(f"{bucket}/.lock-000002", b"the next owner\nid")
        for _ in range(100):
            time.sleep(0.3)
            first.require()
    assert ".lock-000002" in storage.names(bucket)


@pytest.mark.slow
def test_of_programs_that_start_together_one_owns_the_folder(s3: str, tmp_path):
    path = f"{s3}/{tmp_path.name}/run"
    program = (
        "import sys, time; from attr_extractor import errors, ownership\n"
        "try:\n"
        "  with ownership.folder(sys.argv[1], 'it'): time.sleep(8)\n"
        "except errors.TemporaryError: sys.exit(75)\n"
    )
    command = [sys.executable, "-c", program, path]
    started = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert sorted(process.wait() for process in started) == [0, 75, 75, 75]
    assert storage.names(path) == []


def test_a_file_in_a_bucket_is_owned(bucket: str):
    with ownership.new_file(f"{bucket}/out.csv", "--output"):
        told = rf"{bucket}/out.csv: .+ \(process \d+ on .+, since 20.+\) is writing to it"
        second = ownership.file(f"{bucket}/out.csv", "--output")
        with pytest.raises(TemporaryError, match=told), second:
            pass
        with ownership.file(f"{bucket}/other.csv", "--output"):
            pass
    assert storage.names(bucket) == []
