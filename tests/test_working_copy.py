"""Tests of working_copy.py: a folder in a bucket is read whole, and written by one owner."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from attr_extractor import lease, storage, working_copy
from attr_extractor.errors import InputError, TemporaryError


def contents(bucket: str) -> dict[str, bytes]:
    return {name: storage.read(f"{bucket}/{name}") for name in storage.objects(bucket)}


def test_changes_of_the_owner_are_uploaded(bucket: str):
    with working_copy.owned(bucket, "it") as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "c d").write_text("1")
        (folder / "ü").write_text("2")
        (folder / "x.tmp").write_text("not finished")
    assert contents(bucket) == {"a/b/c d": b"1", "ü": b"2"}
    with working_copy.owned(bucket, "it") as folder:
        assert (folder / "a" / "b" / "c d").read_text() == "1"
        (folder / "a" / "b" / "c d").unlink()
        (folder / "ü").write_text("3")
        (folder / "new").write_text("4")
    assert contents(bucket) == {"ü": b"3", "new": b"4"}


def test_an_error_of_the_owner_keeps_its_files(bucket: str):
    with pytest.raises(ZeroDivisionError), working_copy.owned(bucket, "it") as folder:
        (folder / "a").write_text("1")
        raise ZeroDivisionError
    assert contents(bucket) == {"a": b"1"}


def test_files_are_uploaded_in_the_order_in_which_they_were_finished(bucket: str, monkeypatch):
    order, real = [], storage.upload

    def upload(file: Path, path: str) -> None:
        order.append(Path(file).name)
        assert storage.exists(f"{bucket}/{working_copy.UPLOADING}")
        real(file, path)

    monkeypatch.setattr(storage, "upload", upload)
    with working_copy.owned(bucket, "it") as folder:
        for name in ("late.tmp", "z", "y", "a"):
            (folder / name).write_text(name)
            time.sleep(0.02)
        os.replace(folder / "late.tmp", folder / "late")
    assert order == ["z", "y", "a", "late"]
    assert not storage.exists(f"{bucket}/{working_copy.UPLOADING}")


def test_uploads_go_on_in_the_background(bucket: str, monkeypatch):
    monkeypatch.setattr(working_copy, "UPLOAD_EVERY", 0.1)
    with working_copy.owned(bucket, "it") as folder:
        (folder / "a").write_text("1")
        for _ in range(100):
            time.sleep(0.1)
            if contents(bucket).get("a"):  # in memory a new file is empty for a moment
                break
        assert contents(bucket)["a"] == b"1"


def test_a_reader_gets_a_copy_of_the_present_files(bucket: str):
    assert list(working_copy.folder(bucket).iterdir()) == []
    storage.write(f"{bucket}/in/a", b"1")
    first = working_copy.folder(f"{bucket}/in")
    assert (first / "a").read_bytes() == b"1"
    assert str(first).endswith(bucket.replace("://", ":/") + "/in")
    assert working_copy.folder(f"{bucket}/in/") == first
    storage.write(f"{bucket}/in/a", b"changed")
    assert (working_copy.folder(f"{bucket}/in") / "a").read_bytes() == b"changed"
    assert (first / "a").read_bytes() == b"1"
    assert working_copy.file(f"{bucket}/in/a").read_bytes() == b"changed"
    assert not working_copy.file(f"{bucket}/in/b").exists()


def fail_once(monkeypatch, function: str, name: str) -> None:
    """Make the next call of a function of storage for this file fail."""
    call, left = getattr(storage, function), [1]

    def failing(*arguments):
        if str(arguments[-1]).endswith(name) and left:
            left.pop()
            raise OSError("away")
        return call(*arguments)

    monkeypatch.setattr(storage, function, failing)


@pytest.mark.parametrize(
    ("function", "name"), [("upload", "/c"), ("remove", working_copy.UPLOADING)]
)
def test_an_upload_that_failed_once_is_finished(bucket: str, monkeypatch, function: str, name: str):
    with working_copy.owned_copy(bucket, "it") as copy:
        for each in "abc":
            (copy.folder / each).write_text(each)
            time.sleep(0.01)  # another time of change
        fail_once(monkeypatch, function, name)
        with pytest.raises(TemporaryError, match="away; rerun the command"), copy.settled():
            pass
        assert working_copy.UPLOADING in contents(bucket)
        with copy.settled():
            assert contents(bucket).keys() - {working_copy.UPLOADING} >= {"a", "b", "c"}
            assert working_copy.UPLOADING not in contents(bucket)
    with working_copy.owned(bucket, "it") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c"]


def test_a_killed_owner_whose_upload_failed_before_leaves_no_half_of_it(bucket: str, monkeypatch):
    with working_copy.owned_copy(bucket, "it") as copy:
        (copy.folder / "a").write_text("a")
        time.sleep(0.01)
        (copy.folder / "b").write_text("b")
        fail_once(monkeypatch, "upload", "/b")
        with pytest.raises(TemporaryError), copy.settled():
            pass
        (copy.folder / "c").write_text("c")
        fail_once(monkeypatch, "upload", "/c")
        with pytest.raises(TemporaryError), copy.settled():
            pass
        mark = json.loads(storage.read(f"{bucket}/{working_copy.UPLOADING}"))
        assert sorted(mark["new"]) == ["a", "b", "c"]


def test_an_error_about_a_copy_names_the_address(bucket: str):
    storage.write(f"{bucket}/run/a.json", b"{")
    read = working_copy.folder(f"{bucket}/run")
    with working_copy.owned(f"{bucket}/new", "it") as written:
        for folder, address in ((read, f"{bucket}/run"), (written, f"{bucket}/new")):
            told = str(InputError(f"({folder}/a.json): not JSON; evaluate --run_dir={folder} -x"))
            assert told == f"({address}/a.json): not JSON; evaluate --run_dir={address} -x"


def test_files_that_are_left_out_are_neither_copied_nor_removed(bucket: str):
    for name in ("large/a", "larger", "b"):
        storage.write(f"{bucket}/in/{name}", b"1")
    copied = working_copy.folder(f"{bucket}/in", without="large")
    assert sorted(path.name for path in copied.iterdir()) == ["b", "larger"]
    with working_copy.owned(f"{bucket}/in", "it", without="large") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["b", "larger"]
        (folder / "b").unlink()
    assert set(storage.objects(f"{bucket}/in")) == {"large/a", "larger"}


def test_a_folder_whose_upload_was_interrupted_is_refused_and_its_owner_undoes_it(
    bucket: str, monkeypatch
):
    with working_copy.owned(bucket, "it") as folder:
        (folder / "old").write_text("1")
    real = storage.upload

    def fails(file: Path, path: str) -> None:
        if path.endswith("/second"):
            raise KeyboardInterrupt
        real(file, path)

    monkeypatch.setattr(storage, "upload", fails)
    with pytest.raises(KeyboardInterrupt), working_copy.owned(bucket, "it") as folder:
        for name in ("first", "second"):
            (folder / name).write_text(name)
            time.sleep(0.02)
    monkeypatch.undo()
    assert "first" in contents(bucket)
    with pytest.raises(InputError, match="its upload was interrupted; rerun the command"):
        working_copy.folder(bucket)
    with working_copy.owned(bucket, "it") as folder:
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert contents(bucket) == {"old": b"1"}


def test_a_folder_that_is_being_uploaded_is_refused_for_now(bucket: str):
    mark = {"changed": ["sub/a"], "new": []}
    storage.write(f"{bucket}/{working_copy.UPLOADING}", json.dumps(mark).encode())
    storage.write(f"{bucket}/other/a", b"1")
    assert [path.name for path in working_copy.folder(f"{bucket}/other").iterdir()] == ["a"]
    held = lease.held(f"{bucket}/.lock", bucket, "the owner")
    with held, pytest.raises(TemporaryError, match=f"{bucket}: the owner is writing to it"):
        working_copy.folder(bucket)
    with pytest.raises(InputError, match=f"{bucket}/sub: its upload was interrupted"):
        working_copy.folder(f"{bucket}/sub")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"changed": 3, "new": []}'])
def test_a_damaged_list_of_an_upload_is_refused(bucket: str, content: bytes):
    storage.write(f"{bucket}/{working_copy.UPLOADING}", content)
    with pytest.raises(InputError, match=working_copy.UPLOADING):
        working_copy.folder(bucket)
    owned = working_copy.owned(bucket, "the folder")
    with pytest.raises(InputError, match=working_copy.UPLOADING), owned:
        pass


def test_a_folder_that_changes_while_it_is_copied_is_copied_again(bucket: str, monkeypatch):
    storage.write(f"{bucket}/a", b"1")
    storage.write(f"{bucket}/b", b"1")
    real, calls = storage.download, []

    def download(path: str, file: Path) -> None:
        if not calls:
            for name in ("a", "b"):
                storage.write(f"{bucket}/{name}", b"22")
        calls.append(path)
        real(path, file)

    monkeypatch.setattr(storage, "download", download)
    folder = working_copy.folder(bucket)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"22", "b": b"22"}


def test_a_copy_that_does_not_fit_is_refused(bucket: str, monkeypatch):
    storage.write(f"{bucket}/a", b"1")
    monkeypatch.setattr(working_copy.shutil, "disk_usage", lambda _: type("", (), {"free": 0}))
    with pytest.raises(InputError, match=f"{bucket}: 0.0 GiB, but the disk of .* has 0.0 GiB free"):
        working_copy.folder(bucket)


def test_a_new_folder_must_be_empty(bucket: str):
    with working_copy.new(bucket, "--output_dir") as folder:
        (folder / "a").write_text("1")
    again = working_copy.new(bucket, "--output_dir")
    with pytest.raises(InputError, match="--output_dir exists already"), again:
        pass
    assert contents(bucket) == {"a": b"1"}


def test_a_folder_on_a_disk_is_used_as_it_is(tmp_path: Path):
    with working_copy.owned(tmp_path / "a", "it") as folder:
        assert folder == tmp_path / "a" and folder.is_dir()
        (folder / "b").write_text("1")
    assert working_copy.folder(tmp_path / "a") == tmp_path / "a"
    assert working_copy.file(tmp_path / "a" / "b") == tmp_path / "a" / "b"
