"""Tests of storage.py: the same behaviour on disk and in a bucket, and atomic writes.

Buckets are those of servers in processes of their own, and the memory of this process.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import tensorflow as tf

from attr_extractor import storage
from attr_extractor.errors import InputError


@pytest.fixture(params=["disk", "memory", "s3", "gs"])
def folder(request, tmp_path: Path) -> str:
    """An empty folder in each place."""
    if request.param == "disk":
        return str(tmp_path)
    root = "memory:/" if request.param == "memory" else request.getfixturevalue(request.param)
    return f"{root}/storage/{tmp_path.name}"


# Paths


@pytest.mark.parametrize("path", ["gs://bucket/a", "memory://x", "s3://b/c", "hdfs://n:1/x"])
def test_a_path_with_a_scheme_is_remote(path: str):
    assert storage.is_remote(path)


@pytest.mark.parametrize("path", ["/a/b", "a", Path("/x"), "C:\\x", "a:b", "", "a//b"])
def test_a_path_without_a_scheme_is_local(path):
    assert not storage.is_remote(path)


@pytest.mark.parametrize("path", ["http://x.org/a.csv", "https://x.org/a", "HTTPS://x.org"])
def test_web_addresses_raise(path: str):
    calls = (storage.exists, storage.names, storage.open_read, storage.read, storage.make_folder)
    for call in calls:
        with pytest.raises(
            InputError, match=f"{path}.*a web address; nothing is fetched over http"
        ):
            call(path)
    with pytest.raises(InputError, match="web address"):
        storage.write(path, b"")


@pytest.mark.parametrize(
    "folder, name, expected",
    [
        ("/a/b", "c.x", "/a/b/c.x"),
        ("/a/b/", "c/d.x", "/a/b/c/d.x"),
        (Path("/a"), "b", "/a/b"),
        ("gs://bucket/a", "b/c", "gs://bucket/a/b/c"),
        ("gs://bucket/", "c", "gs://bucket/c"),
    ],
)
def test_join(folder, name: str, expected: str):
    assert storage.join(folder, name) == expected


# Files


def test_a_written_file_reads_back_equal(folder: str):
    path = storage.join(folder, "ü x.bin")
    assert not storage.exists(path)
    for data in (b"", bytes(range(256)) * 1000, b"again, shorter"):
        storage.write(path, data)
        assert storage.exists(path)
        assert storage.read(path) == data and storage.size(path) == len(data)
        with storage.open_read(path) as file:
            assert file.read() == data
    assert storage.names(folder) == ["ü x.bin"]


def test_folders_are_created_listed_and_removed_with_their_contents(folder: str):
    for _ in range(2):  # one that is there is fine
        storage.make_folder(storage.join(folder, "b/deep"))
    storage.write(storage.join(folder, "b/deep/x"), b"1")
    storage.write(storage.join(folder, "c"), b"1")
    storage.write(storage.join(folder, "a"), b"1")
    assert storage.names(folder) == ["a", "b", "c"]
    storage.remove(storage.join(folder, "b"))
    storage.remove(storage.join(folder, "c"))
    assert storage.names(folder) == ["a"]
    assert not storage.exists(storage.join(folder, "b/deep/x"))
    assert storage.names(storage.join(folder, "nowhere")) == []
    for _ in range(2):  # one that is gone is fine
        storage.remove_folder(storage.join(folder, "d"))
        storage.make_folder(storage.join(folder, "d"))
    storage.write(storage.join(folder, "d/x"), b"1")
    storage.remove_folder(storage.join(folder, "d"))
    assert storage.names(folder) == ["a"]


def test_a_missing_file_raises_the_same_error_on_disk_and_in_a_bucket(folder: str):
    path = storage.join(folder, "lost")
    with pytest.raises(FileNotFoundError):
        storage.read(path)
    with pytest.raises(FileNotFoundError):
        storage.size(path)
    with pytest.raises(InputError, match="lost: cannot be read: "):
        storage.open_read(path)


def test_the_objects_of_a_folder_have_a_version_that_changes_when_they_are_written(bucket: str):
    for name in ("a", "b/c", "b/c d", "ü"):
        storage.write(f"{bucket}/in/{name}", name.encode())
    storage.write(f"{bucket}/in-2/a", b"beside")
    before = storage.objects(f"{bucket}/in")
    assert {name: found.size for name, found in before.items()} == {
        "a": 1,
        "b/c": 3,
        "b/c d": 5,
        "ü": 2,
    }
    time.sleep(1.1)  # S3 counts seconds
    storage.write(f"{bucket}/in/b/c", b"b/c")
    after = storage.objects(f"{bucket}/in")
    assert {name for name in after if after[name] != before[name]} == {"b/c"}
    assert storage.objects(f"{bucket}/nowhere") == {}


def test_large_files_are_uploaded_and_downloaded_unchanged(bucket: str, tmp_path: Path):
    data = os.urandom(60 * 2**20)  # more than one part of an upload
    with storage.whole(f"{bucket}/large") as temporary:
        Path(temporary).write_bytes(data)
    assert storage.size(f"{bucket}/large") == len(data)
    storage.download(f"{bucket}/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("key", ["a//b", "../a", "a/./b", "a/../b"])
def test_an_address_is_written_in_one_way(key: str):
    with pytest.raises(InputError, match=r"write the address without '//', '/./' and '/../' in it"):
        storage.read(f"memory://bucket/{key}")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_missing_bucket_raises_one_line(scheme: str, request):
    request.getfixturevalue(scheme)
    path = f"{scheme}://no-such-bucket/a"
    for call, what in (
        (lambda: storage.write(path, b""), "written"),
        (lambda: storage.open_read(path), "read"),
    ):
        with pytest.raises(InputError, match=f"{path}: cannot be {what}: no such file or bucket"):
            call()


def test_a_folder_cannot_replace_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"{path}: cannot be created: "):
            storage.make_folder(path)


# Whole or not there


def test_the_old_file_is_kept_until_the_new_one_is_complete(folder: str):
    path = storage.join(folder, "x")
    storage.write(path, b"old")
    with storage.whole(path) as temporary:
        Path(temporary).write_bytes(b"new")
        assert storage.read(path) == b"old"
    assert storage.read(path) == b"new"
    assert storage.names(folder) == ["x"]


def test_an_exception_keeps_the_old_file(folder: str):
    path = storage.join(folder, "x")
    storage.write(path, b"old")
    with pytest.raises(ZeroDivisionError), storage.whole(path) as temporary:
        Path(temporary).write_bytes(b"longer than the next")
        raise ZeroDivisionError
    assert storage.read(path) == b"old"
    storage.write(path, b"new")
    assert storage.read(path) == b"new"
    assert storage.names(folder) == ["x"]


def test_a_file_that_cannot_be_written_raises_one_line_with_the_reason(tmp_path: Path):
    (tmp_path / "is a folder").mkdir()
    for name, reason in (("is a folder", "Is a directory"), ("no/such/folder", "No such file")):
        with pytest.raises(InputError, match=f"{name}: cannot be written: {reason}"):
            storage.write(tmp_path / name, b"x")
    assert sorted(os.listdir(tmp_path)) == ["is a folder"]


# What TensorFlow raised on a file system of 1 MiB, and with a file size limit (`ulimit -f`)
FULL = (tf.errors.ResourceExhaustedError, "{}; No space left on device")
TOO_LARGE = (tf.errors.OutOfRangeError, "{}; File too large")


@pytest.mark.parametrize("kind, message", [FULL, TOO_LARGE])
def test_a_full_disk_in_tensorflow_raises_one_line_and_leaves_no_temporary_file(
    tmp_path: Path, kind: type, message: str
):
    path = tmp_path / "x.tfrecord"
    with pytest.raises(InputError) as caught, storage.whole(path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            writer.write(b"some")
        raise kind(None, None, message.format(temporary))
    assert f"{path}: cannot be written" in str(caught.value)
    assert message.rpartition("; ")[2] in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_in_python_raises_one_line_and_leaves_no_temporary_file(tmp_path: Path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    full = pytest.raises(InputError, match="x: cannot be written: No space left on device")
    with full, storage.whole(tmp_path / "x") as temporary:
        Path(temporary).symlink_to("/dev/full")
        Path(temporary).write_bytes(b"some")
    assert os.listdir(tmp_path) == []


def test_a_damaged_input_is_not_reported_as_an_output_error(tmp_path: Path):
    either = pytest.raises((InputError, tf.errors.DataLossError))
    with either as caught, storage.whole(tmp_path / "x"):
        raise tf.errors.DataLossError(None, None, "corrupted record at 12")
    assert "cannot be written" not in str(caught.value)


def test_a_file_of_s3_is_read_by_one_request(s3: str, tmp_path: Path, monkeypatch):
    path, asked = f"{s3}/one", []
    fs, _ = storage.file_system(path)
    storage.write(path, bytes(fs.default_block_size + 1))
    call = type(fs)._call_s3

    async def recorded(self, method, *arguments, **options):
        asked.append(method)
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(type(fs), "_call_s3", recorded)
    assert len(storage.read(path)) == fs.default_block_size + 1
    storage.download(path, tmp_path / "one")
    assert asked == ["get_object", "get_object"]
