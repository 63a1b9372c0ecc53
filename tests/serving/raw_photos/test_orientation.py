"""Test `serving/raw_photos/orientation.py` against Pillow on the same files."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from attr_extractor.serving.raw_photos import orientation

TAG = 0x0112
INTEGERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}  # by type of the directory
APP0, APP1, APP2 = b"\xff\xe0", b"\xff\xe1", b"\xff\xe2"
SPEC = [tf.TensorSpec([], tf.string)]
of_jpeg = tf.function(orientation.of_jpeg, input_signature=SPEC, autograph=False)
of_png = tf.function(orientation.of_png, input_signature=SPEC, autograph=False)


def plain(kind: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(out, kind, **options)
    return out.getvalue()


def of_pillow(file: bytes) -> int:
    with Image.open(io.BytesIO(file)) as image:
        image.load()
        try:
            found = image.getexif().get(TAG, 1)
        except (SyntaxError, OSError, ValueError, struct.error):  # an invalid directory
            return 1
    return found if found in range(1, 9) else 1


def directory(order: str, entries: list[tuple[int, int, int, bytes]], start: int = 8) -> bytes:
    """Return an EXIF directory at an offset."""
    out = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    out += bytes(start - 8) + struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        out += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    return out + bytes(4)


def entry(order: str, value: int, kind: int = 3, count: int = 1) -> tuple[int, int, int, bytes]:
    return TAG, kind, count, struct.pack(order + INTEGERS.get(kind, "I"), value)


def segment(marker: bytes, content: bytes) -> bytes:
    return marker + struct.pack(">H", len(content) + 2) + content


def exif(content: bytes) -> bytes:
    return segment(APP1, b"Exif\0\0" + content)


def xmp(text: str) -> bytes:
    return segment(APP1, b"http://ns.adobe.com/xap/1.0/\0" + text.encode())


def jpeg(*segments: bytes) -> bytes:
    file = plain()
    return file[:2] + b"".join(segments) + file[2:]


def with_thumbnail(order: str, value: int, of_thumbnail: int) -> bytes:
    first = directory(order, [entry(order, value)])
    second = directory(order, [entry(order, of_thumbnail)])[8:]
    return first[:-4] + struct.pack(order + "I", len(first)) + second


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_found_wherever_it_stands(order, value):
    block = directory(order, [(0x010F, 2, 4, b"abc"), entry(order, value), (0x0128, 3, 1, b"\2")])
    other = directory(order, [entry(order, 9 - value)])
    icc = segment(APP2, b"ICC_PROFILE\0\1\1" + bytes(60_000))
    files = [
        jpeg(exif(block)),
        jpeg(segment(APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), icc, icc, xmp("<x/>"), exif(block)),
        jpeg(exif(block), exif(other)),
        jpeg(xmp('tiff:Orientation="5"'), exif(block)),
        jpeg(xmp(f'<rdf tiff:Orientation="{value}"/>')),
        jpeg(xmp(f"<tiff:Orientation>{value}</tiff:Orientation>")),
        jpeg(exif(with_thumbnail(order, value, 9 - value))),
        jpeg(b"\xff\xff" + exif(block)),
    ]
    assert [of_pillow(file) for file in files] == [value] * len(files)
    assert [int(of_jpeg(file)) for file in files] == [value] * len(files)
    assert int(of_png(plain("PNG", exif=block))) == of_pillow(plain("PNG", exif=block)) == value


@pytest.mark.filterwarnings("ignore:(Corrupt|Possibly corrupt|Truncated) ")
def test_odd_directories_are_read_as_pillow_reads_them():
    choose = random.Random(0)
    disagree = []
    for i in range(300):
        order = choose.choice("<>")
        kind, count = (
            choose.choice([3, 3, 3, 4, 1, 2, 6, 7, 8, 9, 13, 99]),
            choose.choice([1, 1, 0]),
        )
        value = choose.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65, 127])
        entries = [(0x010F, 2, 4, b"abc")] * choose.randint(0, 3)
        entries += [entry(order, value, kind, count)] * choose.randint(0, 2)
        block = directory(order, entries, choose.choice([8, 8, 10, 20]))
        if choose.random() < 0.2:
            block = block[: choose.randint(0, len(block))]
        segments = [exif(block)]
        if choose.random() < 0.5:
            segments.append(xmp(f'tiff:Orientation="{choose.randint(0, 9)}"'))
        choose.shuffle(segments)
        file = jpeg(*segments)
        if int(of_jpeg(file)) != of_pillow(file):
            disagree.append((i, kind, count, value, of_pillow(file), int(of_jpeg(file))))
    assert not disagree


@pytest.mark.parametrize("value", range(1, 9))
def test_a_photo_is_turned_upright_as_pillow_turns_it(value):
    photo = np.random.default_rng(value).integers(0, 256, [5, 7, 3], np.uint8)
    tagged = Image.fromarray(photo)
    tagged.getexif()[TAG] = value
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    found = orientation.upright(tf.constant(photo), tf.constant(value))
    np.testing.assert_array_equal(found, expected)


def test_a_file_of_very_many_segments_is_refused_in_bounded_time():
    with pytest.raises(tf.errors.InvalidArgumentError):
        of_jpeg(jpeg(*[segment(APP2, b"")] * 100_000))
