"""Tests of photos.read_raw: only files below the image root are read.

The root is a folder of the disk or of TensorFlow's file system in memory, `memory://`, which stands
for a bucket here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attr_extractor import storage
from attr_extractor.catalogue import photos, raw_files
from attr_extractor.catalogue.photos import PhotoError
from attr_extractor.errors import InputError


def test_only_paths_below_the_root_are_read(tmp_path: Path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.jpg").write_bytes(b"a photo")
    (root / "empty.jpg").write_bytes(b"")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "images-2").mkdir()
    (tmp_path / "images-2" / "b.jpg").write_bytes(b"secret")
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "out").symlink_to(tmp_path / "images-2")
    (root / "in.jpg").symlink_to("sub/a.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(root / "pipe.jpg")  # reading it would wait for ever
    for path in ("sub/a.jpg", "sub/../sub/a.jpg", "in.jpg", str(root / "sub" / "a.jpg")):
        assert photos.read_raw(root, path) == b"a photo"
    reasons = {
        "../secret.jpg": photos.OUTSIDE,
        "sub/../../secret.jpg": photos.OUTSIDE,
        "../images-2/b.jpg": photos.OUTSIDE,
        str(tmp_path / "secret.jpg"): photos.OUTSIDE,
        "/etc/passwd": photos.OUTSIDE,
        "out.jpg": photos.OUTSIDE,
        "out/b.jpg": photos.OUTSIDE,
        "no.jpg": photos.NOT_FOUND,
        "sub": photos.NOT_FOUND,
        "sub/a.jpg/b": photos.NOT_FOUND,
        "https://shop.example/a.jpg": photos.WEB_ADDRESS,
        "HTTP://shop.example/a.jpg": photos.WEB_ADDRESS,
        "gs://bucket/a.jpg": photos.OUTSIDE,
        "file:///etc/passwd": photos.OUTSIDE,
        "shop.example/a.jpg": photos.NOT_FOUND,
        "": photos.OUTSIDE,
        ".": photos.OUTSIDE,
        "empty.jpg": photos.EMPTY,
        "loop.jpg": photos.UNREADABLE,
        "pipe.jpg": photos.UNREADABLE,
        "a\0b.jpg": photos.UNREADABLE,
        "x" * 5000: photos.UNREADABLE,
    }
    for path, expected in reasons.items():
        with pytest.raises(PhotoError) as caught:
            photos.read_raw(root, path)
        assert str(caught.value) == expected, path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_has_a_reason(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(PhotoError, match=photos.UNREADABLE):
        photos.read_raw(tmp_path, "a.jpg")


def test_the_root_may_be_a_link(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a photo")
    link = tmp_path / "link"
    link.symlink_to("images")
    for root in (link, str(link), f"{link}/"):
        for path in ("a.jpg", f"{link}/a.jpg", f"{tmp_path}/images/a.jpg"):
            assert photos.read_raw(root, path) == b"a photo"


def test_a_file_larger_than_any_photo_is_not_read(tmp_path: Path):
    with open(tmp_path / "film.jpg", "wb") as file:
        file.truncate(raw_files.MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(PhotoError, match=photos.TOO_MANY_BYTES):
        photos.read_raw(tmp_path, "film.jpg")


# A bucket

BUCKET = "memory://bucket/photos"


@pytest.fixture(scope="module")
def bucket() -> str:
    for path, data in {
        f"{BUCKET}/a.jpg": b"photo a",
        f"{BUCKET}/sub/b.jpg": b"photo b",
        f"{BUCKET}/empty.jpg": b"",
        "memory://bucket/secret.jpg": b"secret",
        "memory://bucket/photos-2.jpg": b"secret",
    }.items():
        storage.write(path, data)
    return BUCKET


@pytest.mark.parametrize("root", [BUCKET, f"{BUCKET}/"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", b"photo a"),
        ("sub/b.jpg", b"photo b"),
        ("sub//b.jpg", b"photo b"),
        ("./sub/../a.jpg", b"photo a"),
        (f"{BUCKET}/sub/b.jpg", b"photo b"),
        ("no.jpg", photos.NOT_FOUND),
        ("sub/no.jpg", photos.NOT_FOUND),
        ("empty.jpg", photos.EMPTY),
        ("../secret.jpg", photos.OUTSIDE),
        ("sub/../../secret.jpg", photos.OUTSIDE),
        (f"{BUCKET}/../secret.jpg", photos.OUTSIDE),
        ("memory://bucket/secret.jpg", photos.OUTSIDE),
        (f"{BUCKET}-2.jpg", photos.OUTSIDE),
        ("memory://other/a.jpg", photos.OUTSIDE),
        ("gs://bucket/photos/a.jpg", photos.OUTSIDE),
        ("file:///etc/passwd", photos.OUTSIDE),
        ("/etc/passwd", photos.OUTSIDE),
        (f"{BUCKET}/gs://bucket/a.jpg", photos.OUTSIDE),
        ("https://shop.example/a.jpg", photos.WEB_ADDRESS),
    ],
)
def test_a_bucket_accepts_and_rejects_the_same_paths_as_a_folder(
    bucket: str, root: str, path, expected
):
    if isinstance(expected, bytes):
        assert photos.read_raw(root, path) == expected
        return
    with pytest.raises(PhotoError) as caught:
        photos.read_raw(root, path)
    assert str(caught.value) == expected


@pytest.mark.parametrize("path", ["", ".", "sub", "sub/"])
def test_a_folder_in_a_bucket_is_not_a_photo(bucket: str, path: str):
    with pytest.raises(PhotoError) as caught:
        photos.read_raw(bucket, path)
    assert str(caught.value) in photos.REASONS


def test_a_bucket_without_a_file_system_is_bad_input():
    for read in (raw_files.require_root, lambda root: photos.read_raw(root, "a.jpg")):
        with pytest.raises(InputError, match="nosuch://bucket.*: Protocol not known: nosuch"):
            read("nosuch://bucket")
