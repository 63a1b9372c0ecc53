"""Tests of unusable photos: each has a reason; bombs are rejected by their header."""

from __future__ import annotations

import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from attr_extractor.catalogue import photos
from tests.catalogue.drawn_photos import (
    COMPRESSION,
    FORMAT,
    HEIGHT,
    LARGE,
    OFFSET,
    SAMPLES,
    chunk,
    described,
    file_of,
    png,
    smooth,
    square_tile,
    stored,
    tiff,
    with_size,
)

pytestmark = pytest.mark.filterwarnings(  # programs silence them
    "ignore:Corrupt EXIF:UserWarning", "ignore::PIL.Image.DecompressionBombWarning"
)

RGB = np.asarray(smooth()).tobytes()
RGB_TAGS = described(2, 8, 8, 8)
NO_HEIGHT = {tag: values for tag, values in RGB_TAGS.items() if tag != HEIGHT}
OFFSET_TYPE, FRACTION_TYPE = struct.pack("<HH", OFFSET, 4), struct.pack("<HH", OFFSET, 11)
NO_PIXELS = png([], (64, 48), 8, 2)
PNG = file_of(smooth(), "PNG")
TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))
LONG_TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000)))
GIF_SIZE = struct.pack("<HH", 65_535, 65_535)

NOT_AN_IMAGE = {
    "text": b"not a photo, a text",
    "one byte": b"\xff",
    "zeros": bytes(5000),
    "web page": b"<!DOCTYPE html><html>404</html>",
    "sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    "xml": b'<?xml version="1.0"?><products></products>',
}
OTHER_FORMAT = {
    "heic": b"\0\0\0\x18ftypheic" + bytes(200),
    "avif": b"\0\0\0\x20ftypavif" + bytes(200),
    "jpeg xl": b"\xff\x0a" + bytes(200),
    "svg": b'<?xml version="1.0"?>\n<svg width="9"></svg>',
    "pdf": file_of(smooth(), "PDF"),
    "eps": file_of(smooth(), "EPS"),
    "photoshop": b"8BPS\0\x01" + bytes(200),
}
TRUNCATED = {
    **{f"1,000 bytes of {kind}": file_of(smooth(480, 640), kind)[:1000] for kind in photos.FORMATS},
    **{f"20 bytes of {kind}": file_of(smooth(), kind)[:20] for kind in photos.FORMATS},
    "jpeg without a picture": b"\xff\xd8\xff\xe0\0\x10JFIF\0" * 3,
    "png without pixels": NO_PIXELS,
    "png of width 0": with_size(NO_PIXELS, 0, 48),
    "png with a wrong check sum": PNG[:29] + bytes(4) + PNG[33:],
    "png of a text too long": png([], (64, 48), 8, 2, LONG_TEXT),
    "png of too many texts": png([], (64, 48), 8, 2, *[TEXT] * 70),
    "tiff of height 0": tiff(RGB, {**RGB_TAGS, HEIGHT: [0]}),
    "tiff without a height": tiff(RGB, NO_HEIGHT),
    "tiff whose pixels start at a fraction": tiff(RGB, RGB_TAGS).replace(
        OFFSET_TYPE, FRACTION_TYPE
    ),
    "tiff of an endless directory": b"II*\0\x08\0\0\0\xff\xff" + bytes(90),
    "tiff of 9 channels": tiff(RGB * 3, described(2, *[8] * 9)),
    "tiff of 5000 samples": tiff(RGB, {**RGB_TAGS, SAMPLES: [5000]}),
    "tiff of half floats": tiff(RGB * 2, {**described(2, 16, 16, 16), FORMAT: [3, 3, 3]}),
}
PIXEL_TYPE = {
    "tiff of floats": tiff(RGB * 4, {**described(1, 32), FORMAT: [3]}),
    "tiff of 32-bit integers": tiff(RGB * 4, described(1, 32)),
    "tiff of signed integers": tiff(RGB * 2, {**described(1, 16), FORMAT: [2]}),
}
TOO_LARGE = {  # none of them could be decoded: the header has to be enough
    "png": with_size(NO_PIXELS, 10_001, 10_000),
    "png over Pillow's own limit": with_size(NO_PIXELS, 40_000, 40_000),
    "gif": b"GIF89a" + GIF_SIZE + file_of(smooth(), "GIF")[10:],
    "tiff": tiff(RGB, described(2, 8, 8, 8, size=(20_000, 20_000))),
    "tiff tile": tiff(zlib.compress(RGB), {**square_tile(20_000), COMPRESSION: [8]}),
}
TOO_LONG = {"a side longer than JPEG's": file_of(Image.new("L", (65_501, 2)), "PNG")}

ODD = [
    pytest.param(data, getattr(photos, reason), id=f"{reason.lower()}: {name}")
    for reason in (
        *("NOT_AN_IMAGE", "OTHER_FORMAT", "TRUNCATED"),
        *("PIXEL_TYPE", "TOO_LARGE", "TOO_LONG"),
    )
    for name, data in globals()[reason].items()
]


@pytest.mark.parametrize(("data", "reason"), ODD)
def test_an_unsupported_file_has_a_reason_and_starts_no_program(
    data: bytes, reason: str, monkeypatch
):
    def no_program(*_args: object, **_options: object) -> None:
        raise AssertionError("a program was run")

    monkeypatch.setattr(subprocess, "Popen", no_program)  # Pillow would ask Ghostscript
    with pytest.raises(photos.PhotoError) as caught:
        photos.store(data, LARGE)
    assert str(caught.value) == reason


def test_a_truncated_photo_is_rejected():
    for kind in photos.FORMATS:
        data = file_of(smooth(480, 640), kind)
        for share in (0.5, 0.9, 0.99):
            with pytest.raises(photos.PhotoError, match="truncated"):
                photos.store(data[: int(len(data) * share)], 64)


@pytest.mark.parametrize("kind", photos.FORMATS)
def test_photos_with_too_many_pixels_are_rejected_before_decoding(monkeypatch, kind: str):
    data = file_of(smooth(), kind)
    monkeypatch.setattr(photos, "MAX_PIXELS", 48 * 64)
    assert stored(data).shape == (48, 64, 3)
    monkeypatch.setattr(photos, "MAX_PIXELS", 48 * 64 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(photos.PhotoError) as caught:
        photos.store(data, LARGE)
    assert str(caught.value) == photos.TOO_LARGE


def test_the_longest_side_of_a_jpeg_is_accepted():
    assert stored(file_of(Image.new("L", (65_500, 2)), "PNG")).shape == (2, 65_500, 3)


def test_reasons_are_complete_unique_and_one_line_each():
    named = [
        value for name, value in vars(photos).items() if name.isupper() and isinstance(value, str)
    ]
    assert sorted(photos.REASONS) == sorted(named)
    assert len(set(photos.REASONS)) == len(photos.REASONS)
    assert not any(mark in text for text in photos.REASONS for mark in "\n;")  # ; parts reasons
