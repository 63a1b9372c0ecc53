"""Tests of catalogue/photos.py: colours of every pixel type; alpha is composited on white."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from attr_extractor.catalogue import photos
from tests.catalogue.drawn_photos import (
    COMPRESSION,
    EXTRA,
    FORMAT,
    assert_close,
    chunk,
    described,
    file_of,
    packed,
    png,
    png_16,
    smooth,
    stored,
    tiff,
)

COLORS = np.asarray(smooth())  # uint8 [48, 64, 3]
RAMP = np.tile(np.linspace(0, 255, 64), (48, 1)).astype(np.uint8)
RAMP_16 = np.tile(np.linspace(0, 65535, 64), (48, 1)).astype(np.uint16)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return color * share + 255 * (1 - share)


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, -1).astype(np.float32)


# Transparency


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_white(kind: str):
    image = smooth()
    image.putalpha(Image.fromarray(RAMP))
    data = file_of(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert_close(stored(data), on_white(COLORS, RAMP))


def test_grey_with_alpha_is_composited_on_white():
    levels = smooth().convert("L")
    data = file_of(Image.merge("LA", [levels, Image.fromarray(RAMP)]), "PNG")
    assert_close(stored(data), on_white(grey(np.asarray(levels)), RAMP))


def test_premultiplied_alpha_is_composited_on_white():
    premultiplied = (COLORS * (RAMP[..., None] / 255.0)).round().astype(np.uint8)
    pixels = np.dstack([premultiplied, RAMP]).tobytes()
    data = tiff(pixels, {**described(2, 8, 8, 8, 8), EXTRA: [1]})
    assert_close(stored(data), on_white(COLORS, RAMP))


def halves(left, right) -> np.ndarray:
    """[48, 64, ...] of one value on the left, another on the right."""
    pixels = np.empty([48, 64, *np.shape(left)], np.asarray(left).dtype)
    pixels[:, :32], pixels[:, 32:] = left, right
    return pixels


def assert_right_half_is_white(data: bytes, left: tuple[int, int, int]) -> None:
    found = stored(data)
    np.testing.assert_allclose(found[20, 10], left, atol=8)
    np.testing.assert_allclose(found[20, 50], [255, 255, 255], atol=8)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_becomes_white(kind: str):
    image = Image.fromarray(halves(np.uint8(0), np.uint8(1)))
    image.putpalette([10, 20, 200, 200, 40, 10])
    assert_right_half_is_white(file_of(image, kind, transparency=1), (10, 20, 200))


def test_palette_colours_with_alpha_are_composited_on_white():
    image = Image.fromarray(halves(np.uint8(0), np.uint8(1)))
    image.putpalette([10, 20, 200, 200, 40, 10])
    found = stored(file_of(image, "PNG", transparency=bytes([255, 51])))
    np.testing.assert_allclose(found[20, 10], [10, 20, 200], atol=8)
    np.testing.assert_allclose(found[20, 50], [244, 212, 206], atol=8)  # 255 - (255 - c) / 5


def test_a_transparent_colour_without_an_alpha_channel_becomes_white():
    pixels = halves(np.uint8([10, 20, 200]), np.uint8([200, 40, 10]))
    data = file_of(Image.fromarray(pixels), "PNG", transparency=(200, 40, 10))
    assert_right_half_is_white(data, (10, 20, 200))


@pytest.mark.parametrize(
    ("depth", "transparent", "other"),
    [(1, 0, 1), (2, 2, 1), (4, 9, 5), (8, 170, 85), (16, 43_000, 21_845)],
)
def test_a_transparent_grey_becomes_white_at_every_depth(depth: int, transparent: int, other: int):
    mark = chunk(b"tRNS", struct.pack(">H", transparent))
    values = halves(np.uint16(other), np.uint16(transparent))
    if depth == 16:
        data = png_16(values[..., None], 0, mark)
    else:
        lines = packed(values, depth) if depth < 8 else [row.astype("u1") for row in values]
        data = png([bytes(line) for line in lines], (64, 48), depth, 0, mark)
    assert_right_half_is_white(data, (other * 255 // (2**depth - 1),) * 3)


def test_a_transparent_colour_of_16_bits_becomes_white():
    left, right = (0x0A11, 0x1422, 0xC833), (0xC811, 0x2822, 0x0A33)
    mark = chunk(b"tRNS", struct.pack(">3H", *right))
    data = png_16(halves(np.uint16(left), np.uint16(right)), 2, mark)
    assert_right_half_is_white(data, (10, 20, 200))


# 16 bits, 1 bit


SIXTEEN = {
    "grey png": lambda: png_16(RAMP_16[..., None], 0),
    "little-endian tiff": lambda: tiff(RAMP_16.astype("<u2").tobytes(), described(1, 16)),
    "big-endian tiff": lambda: tiff(RAMP_16.astype(">u2").tobytes(), described(1, 16), True),
    "deflated tiff": lambda: tiff(
        zlib.compress(RAMP_16.astype("<u2").tobytes()), {**described(1, 16), COMPRESSION: [8]}
    ),
    "tiff whose 0 is white": lambda: tiff((~RAMP_16).astype("<u2").tobytes(), described(0, 16)),
    "12-bit tiff": lambda: tiff(twelve_bits(RAMP_16 >> 4), described(1, 12)),
    "rgb png": lambda: png_16(np.repeat(RAMP_16[..., None], 3, -1), 2),
    "rgb tiff": lambda: tiff(
        np.repeat(RAMP_16[..., None], 3, -1).astype("<u2").tobytes(), described(2, 16, 16, 16)
    ),
}


def twelve_bits(values: np.ndarray) -> bytes:
    """Two values in three bytes, the highest bits first."""
    even, odd = values[:, ::2], values[:, 1::2]
    three = [even >> 4, (even & 15) << 4 | odd >> 8, odd & 255]
    return np.stack(three, -1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("name", SIXTEEN)
def test_16_bits_are_scaled_and_not_clipped(name: str):
    assert_close(stored(SIXTEEN[name]()), grey(RAMP_16 / 257), 2)


@pytest.mark.parametrize("color_type", [4, 6])
def test_alpha_of_16_bits_is_composited_on_white(color_type: int):
    color = np.full([48, 64, 1 if color_type == 4 else 3], 30_000, np.uint16)
    data = png_16(np.dstack([color, RAMP_16]), color_type)
    assert_close(stored(data), on_white(np.full([48, 64, 3], 30_000 / 257), RAMP), 2)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "TIFF, group4", "TIFF, 0 is white"])
def test_1_bit_is_black_and_white(kind: str):
    image = smooth().convert("1")
    if kind == "TIFF, 0 is white":
        data = tiff(np.packbits(~np.asarray(image)).tobytes(), described(0, 1))
    elif kind == "TIFF, group4":
        data = file_of(image, "TIFF", compression="group4")
    else:
        data = file_of(image, kind)
    assert_close(stored(data), grey(np.asarray(image) * 255.0), 4)


# Print and science


INK = np.dstack([255 - COLORS, np.full([48, 64, 1], 51, np.uint8)])  # C, M, Y and a fifth of K
PRINTED = COLORS * 0.8


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind: str):
    data = file_of(Image.fromarray(INK, "CMYK"), kind, quality=95)
    assert (b"Adobe" in data) == (kind == "JPEG")  # which inverts its inks
    assert_close(stored(data), PRINTED, 4)


def test_a_jpeg_of_inverted_ycck_keeps_its_colours():
    """Adobe's transform 2: the inverted inks as Y, Cb, Cr (and K as it is)."""
    inverted = Image.fromarray(255 - INK[..., :3]).convert("RGB")  # what YCCK calls R, G, B
    inverted = Image.fromarray(255 - np.asarray(inverted)).convert("YCbCr")
    planes = np.dstack([255 - np.asarray(inverted), INK[..., 3:]])  # Pillow inverts on writing
    data = bytearray(file_of(Image.fromarray(planes, "CMYK"), "JPEG", quality=95))
    at = data.index(b"Adobe") + 11  # the last byte of the marker
    assert data[at] == 0
    data[at] = 2
    assert_close(stored(bytes(data)), PRINTED, 4)


def test_lab_keeps_its_colours():
    red = tiff(bytes([138, 81, 70]) * 48 * 64, described(8, 8, 8, 8))  # L* 54.3, a* 81, b* 70
    np.testing.assert_allclose(stored(red)[20, 20], [255, 0, 0], atol=14)


@pytest.mark.parametrize("kind", ["32-bit", "signed 16-bit", "floating-point"])
def test_pixels_with_unknown_white_are_rejected(kind: str):
    bits, sample_format = {"32-bit": (32, 1), "signed 16-bit": (16, 2), "floating-point": (32, 3)}[
        kind
    ]
    tags = {**described(1, bits), FORMAT: [sample_format]}
    data = tiff(bytes(48 * 64 * bits // 8), tags)
    assert Image.open(io.BytesIO(data)).mode in ("I", "F")
    with pytest.raises(photos.PhotoError, match="white is not known"):
        photos.store(data, 32)
