"""Claims about `catalogue/photos.py`: any raw file -> a plain RGB JPEG, or a reason."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from attr_extractor.catalogue import photos
from attr_extractor.catalogue.photos import PhotoError

LARGE = 1000  # an image_size at which nothing is reduced


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def stored(data: bytes, image_size: int = LARGE) -> np.ndarray:
    """float32 [H, W, 3] of the stored photo, after the checks that every one must pass."""
    photo = photos.store(data, image_size)
    image = Image.open(io.BytesIO(photo.encoded))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert (photo.width, photo.height) == image.size
    assert not image.getexif()  # turned pixels must not be turned again
    return np.asarray(image, np.float32)


def smooth(height: int = 48, width: int = 64) -> Image.Image:
    """A photo that JPEG keeps within a few levels, with no symmetry."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = [250 * x, 250 * y, 120 + 100 * np.sin(3 * x + 2 * y)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def assert_close(found: np.ndarray, expected: np.ndarray, levels: float = 3.0) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected.astype(np.float32)).mean() < levels


def reason(data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        photos.store(data, LARGE)
    return str(caught.value)


# Orientation

TURNED_BY_HAND = {  # what a camera stores -> what a person sees, EXIF 2.3, table 4.6.4
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED_BY_HAND)
def test_a_photo_is_turned_as_its_exif_says(orientation: int, kind: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(smooth(), kind, exif=exif, **({} if kind == "TIFF" else {"quality": 95}))
    found = stored(data)
    assert_close(found, TURNED_BY_HAND[orientation](np.asarray(smooth())))
    assert_close(found, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_close(stored(file_of(smooth(), "JPEG", exif=exif)), np.asarray(smooth()))


def test_an_odd_exif_tag_costs_neither_the_photo_nor_its_rotation():
    orientation = struct.pack("<HHII", 0x0112, 3, 1, 6)
    unit = struct.pack("<HHI4s", 0x0128, 2, 2, b"7\0\0\0")  # text where a number belongs
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + orientation + unit + b"\0\0\0\0"
    data = file_of(smooth(), "JPEG", exif=exif, quality=95)
    with pytest.raises(Exception, match="argument"):  # Pillow's own way of turning it
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert_close(stored(data), np.rot90(np.asarray(smooth()), -1))


# Transparency

ALPHA = np.tile(np.linspace(0, 255, 64), (48, 1)).astype(np.uint8)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return color * share + 255 * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind: str):
    image = smooth()
    image.putalpha(Image.fromarray(ALPHA))
    data = file_of(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert_close(stored(data), on_white(np.asarray(smooth()), ALPHA))


def test_grey_with_alpha_is_laid_on_white():
    grey = smooth().convert("L")
    data = file_of(Image.merge("LA", [grey, Image.fromarray(ALPHA)]), "PNG")
    expected = on_white(np.repeat(np.asarray(grey)[..., None], 3, -1), ALPHA)
    assert_close(stored(data), expected)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_becomes_white(kind: str):
    indices = np.zeros([48, 64], np.uint8)
    indices[:, 32:] = 1
    image = Image.fromarray(indices)
    image.putpalette([10, 20, 200, 200, 40, 10])
    found = stored(file_of(image, kind, transparency=1))
    np.testing.assert_allclose(found[20, 10], [10, 20, 200], atol=8)
    np.testing.assert_allclose(found[20, 50], [255, 255, 255], atol=8)


def test_a_transparent_colour_without_an_alpha_channel_becomes_white():
    pixels = np.full([48, 64, 3], (200, 40, 10), np.uint8)
    pixels[:, :32] = (10, 20, 200)
    found = stored(file_of(Image.fromarray(pixels), "PNG", transparency=(200, 40, 10)))
    np.testing.assert_allclose(found[20, 10], [10, 20, 200], atol=8)
    np.testing.assert_allclose(found[20, 50], [255, 255, 255], atol=8)


# Formats


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_keeps_its_colours(kind: str, mode: str):
    image = smooth().convert(mode)
    levels = 6 if kind == "GIF" and mode == "RGB" else 3  # 256 colours
    assert_close(stored(file_of(image, kind)), np.asarray(image.convert("RGB")), levels)


def test_cmyk_keeps_its_colours():
    expected = 255 - np.asarray(smooth()).astype(int)  # C, M, Y without K
    cmyk = Image.fromarray(np.dstack([expected, 0 * expected[..., :1]]).astype(np.uint8), "CMYK")
    assert_close(stored(file_of(cmyk, "JPEG", quality=95)), np.asarray(smooth()), 4)


def png_16(grey: np.ndarray) -> bytes:
    """A 16-bit grey PNG, chunk by chunk (PNG specification, sections 5 and 11)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 0, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["png", "little-endian tiff", "big-endian tiff", "pgm"])
def test_16_bits_are_scaled_and_not_clipped(kind: str):
    grey = np.tile(np.linspace(0, 65535, 64), (48, 1)).astype(np.uint16)
    if kind == "png":
        data = png_16(grey)
    elif kind == "pgm":
        data = b"P5 64 48 65535\n" + grey.astype(">u2").tobytes()
    else:
        data = file_of(Image.fromarray(grey.astype(">u2" if "big" in kind else "<u2")), "TIFF")
    assert_close(stored(data), np.repeat(grey[..., None] / 257, 3, -1), 2)


def test_the_bytes_decide_the_format_and_not_the_name(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(file_of(smooth(), "PNG"))
    assert_close(stored(photos.read_raw(tmp_path, "photo.jpg")), np.asarray(smooth()))


# Size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (85, 64)),  # 640 * 64 / 480 = 85.33
        ((480, 640), (64, 85)),
        ((65, 900), (64, 886)),  # 900 * 64 / 65 = 886.15
        ((64, 200), (64, 200)),  # short side as asked: left as it is
        ((63, 20), (63, 20)),  # never enlarged
        ((1200, 900), (85, 64)),  # through JPEG's own reduced decoding
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_short_side_is_reduced_and_never_enlarged(size, expected, kind: str):
    photo = photos.store(file_of(smooth(size[1], size[0]), kind), 64)
    assert (photo.width, photo.height) == expected


def test_reducing_is_antialiased():
    checks = np.indices([512, 512]).sum(0) % 2 * 255  # averages to grey, samples to stripes
    found = stored(file_of(Image.fromarray(checks.astype(np.uint8)), "PNG"), 64)
    np.testing.assert_allclose(found, 127.5, atol=6)


def test_the_short_side_is_that_of_the_turned_photo():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = photos.store(file_of(smooth(480, 640), "JPEG", exif=exif), 64)
    assert (photo.width, photo.height) == (64, 85)


# Reasons


def test_what_is_no_photo_or_half_a_photo_has_its_reason():
    assert reason(b"not a photo, a text") == photos.NOT_AN_IMAGE
    assert reason(b"\xff\xd8\xff\xe0") == photos.NOT_AN_IMAGE
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF"):
        data = file_of(smooth(), kind)
        assert reason(data[: len(data) // 2]) in (photos.TRUNCATED, photos.NOT_AN_IMAGE), kind
    for kind in ("JPEG", "PNG"):
        data = file_of(smooth(480, 640), kind)
        assert reason(data[: len(data) // 2]) == photos.TRUNCATED


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about EXIF
def test_damaged_bytes_raise_nothing_but_a_reason():
    draw = random.Random(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    files = [file_of(smooth(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP")]
    files += [file_of(smooth(), kind) for kind in ("GIF", "BMP")]
    refused = 0
    for _ in range(1500):
        data = bytearray(draw.choice(files))
        for _ in range(draw.choice([1, 2, 8])):
            at = draw.randrange(draw.choice([len(data), 150]))
            data[at : at + draw.choice([0, 1, 1, 5])] = draw.randbytes(draw.choice([0, 1, 1, 3]))
        try:
            photos.store(bytes(data), 32)
        except PhotoError:
            refused += 1
    assert 100 < refused < 1400


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch, kind: str):
    data = file_of(smooth(), kind)
    monkeypatch.setattr(photos, "MAX_PIXELS", 48 * 64 - 1)
    assert reason(data) == photos.TOO_LARGE
    assert reason(data[:900]) == photos.TOO_LARGE  # the header is enough to know it by
    monkeypatch.setattr(photos, "MAX_PIXELS", 48 * 64)
    assert stored(data).shape == (48, 64, 3)


def test_a_bomb_over_pillows_own_limit_has_the_same_reason():
    data = bytearray(png_16(np.zeros([4, 4], np.uint16)))
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert reason(bytes(data)) == photos.TOO_LARGE


def test_a_side_longer_than_jpeg_holds_is_refused():
    assert reason(file_of(Image.new("L", (65_501, 2)), "PNG")) == photos.TOO_LONG
    assert stored(file_of(Image.new("L", (65_500, 2)), "PNG")).shape == (2, 65_500, 3)


def test_a_sellers_comment_is_neither_copied_nor_too_long():
    for length in (12, 70_000):
        out = io.BytesIO()
        Image.new("P", (20, 20)).save(out, "GIF", comment=b"c" * length)
        encoded = photos.store(out.getvalue(), LARGE).encoded
        assert b"ccccc" not in encoded
