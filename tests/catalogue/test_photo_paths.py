"""Claims about `photos.read_raw`: what stands below the image root is read, nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attr_extractor.catalogue import photos
from attr_extractor.catalogue.photos import PhotoError


def test_a_path_below_the_root_is_read_and_every_other_has_its_reason(tmp_path: Path):
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
        "https://shop.example/a.jpg": photos.NOT_FOUND,
        "empty.jpg": photos.EMPTY,
        "loop.jpg": photos.UNREADABLE,
        "a\0b.jpg": photos.UNREADABLE,
        "x" * 5000: photos.UNREADABLE,
    }
    for path, expected in reasons.items():
        with pytest.raises(PhotoError) as caught:
            photos.read_raw(root, path)
        assert str(caught.value) == expected, path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_has_its_reason(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(PhotoError, match=photos.UNREADABLE):
        photos.read_raw(tmp_path, "a.jpg")
