"""Tests of catalogue/photos.py: any raw file -> a plain upright RGB JPEG of the requested size.

Pixel types are in test_photo_pixels.py, the product box in test_photo_box.py, what is refused in
test_odd_photos.py.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from attr_extractor.catalogue import photos
from tests.catalogue.drawn_photos import LARGE, assert_close, file_of, smooth, stored


def blotches(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, [9, 7, 3], np.uint8))
    return small.resize((300, 400), Image.Resampling.BICUBIC)


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


def with_orientation(orientation: int, kind: str = "JPEG", image: Image.Image | None = None):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind == "TIFF" else {"quality": 95}
    return file_of(image or smooth(), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED_BY_HAND)
def test_photos_are_rotated_by_their_exif_orientation(orientation: int, kind: str):
    data = with_orientation(orientation, kind)
    found = stored(data)
    assert_close(found, TURNED_BY_HAND[orientation](np.asarray(smooth())))
    assert_close(found, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    photo = photos.store(data, 32)
    expected = (48, 64) if orientation < 5 else (64, 48)
    assert (photo.raw_height, photo.raw_width) == expected  # of the upright photo


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_invalid_orientation_is_ignored(orientation: int):
    assert_close(stored(with_orientation(orientation)), np.asarray(smooth()))


def test_an_invalid_exif_tag_does_not_affect_the_rotation():
    orientation = struct.pack("<HHII", 0x0112, 3, 1, 6)
    unit = struct.pack("<HHI4s", 0x0128, 2, 2, b"7\0\0\0")  # text where a number belongs
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + orientation + unit + b"\0\0\0\0"
    data = file_of(smooth(), "JPEG", exif=exif, quality=95)
    with pytest.raises(Exception, match="argument"):  # Pillow's own way of turning it
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert_close(stored(data), np.rot90(np.asarray(smooth()), -1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_invalid_exif_block_is_ignored(kind: str):
    data = file_of(smooth(), kind, exif=b"Exif\0\0no such thing", quality=95)
    assert_close(stored(data), np.asarray(smooth()))


# Formats


@pytest.mark.parametrize("kind", photos.FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_keeps_its_colours_and_is_recorded(kind: str, mode: str):
    image = smooth().convert(mode)
    levels = 6 if kind == "GIF" and mode == "RGB" else 3  # 256 colours
    data = file_of(image, kind)
    assert_close(stored(data), np.asarray(image.convert("RGB")), levels)
    assert photos.store(data, LARGE).format == kind


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_of_several_frames_is_used(kind: str):
    more = [Image.new("RGB", (64, 48), color) for color in ("red", "lime")]
    data = file_of(smooth(), kind, save_all=True, append_images=more)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_close(stored(data), np.asarray(smooth()), 6)
    assert photos.store(data, LARGE).format == kind


def test_the_format_depends_on_the_bytes_not_the_name(tmp_path: Path):
    for name, kind in {"a.jpg": "PNG", "b.png": "TIFF", "c.gif": "WEBP", "d": "BMP"}.items():
        (tmp_path / name).write_bytes(file_of(smooth(), kind))
        data = photos.read_raw(tmp_path, name)
        assert photos.store(data, LARGE).format == kind
        assert_close(stored(data), np.asarray(smooth()), 4)


def test_metadata_is_not_stored():
    data = file_of(
        smooth(),
        "JPEG",
        icc_profile=b"the profile" * 20,  # ignored: the pixels are taken for sRGB
        comment=b"the comment",
        exif=b"Exif\0\0the camera",
        quality=95,
    )
    encoded = photos.store(data, LARGE).encoded
    for text in (b"the profile", b"ICC_PROFILE", b"the comment", b"the camera", b"Exif"):
        assert (text in data, text in encoded) == (True, False)
    assert_close(stored(data), np.asarray(smooth()))


def renamed(profile: bytes, name: str) -> bytes:
    """Return a version 2 profile with another description: 12 + n bytes at the tag's offset."""
    entries = struct.unpack_from(">I", profile, 128)[0]
    for i in range(entries):
        tag, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag == b"desc":
            # a 'desc' of ICC.1:2001-04, 6.5.17, appended: ASCII alone
            new = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(1)
            new += bytes(4 + 4 + 2 + 1 + 67)
            changed = bytearray(profile + new)
            struct.pack_into(">II", changed, 132 + 12 * i + 4, len(profile), len(new))
            struct.pack_into(">I", changed, 0, len(changed))
            return bytes(changed)
    raise AssertionError("no description")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sRGB IEC61966-2.1", ""),
        ("Display P3", "Display P3"),
        (" Adobe\nRGB\x1b[1m ", "AdobeRGB[1m"),
        ("x" * 1000, "x" * 64),
        ("", "unnamed"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_other_than_srgb_is_named_and_not_applied(name: str, expected: str, kind: str):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = file_of(smooth(), kind, icc_profile=renamed(profile, name))
    photo = photos.store(data, LARGE)
    assert photo.color_profile == expected
    assert photo.encoded == photos.store(file_of(smooth(), kind), LARGE).encoded


@pytest.mark.parametrize("value", ["text", 5])
def test_a_profile_of_another_type_is_damaged(value):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[34675] = value  # InterColorProfile, ICC.1:2001-04, annex B.4
    tags.tagtype[34675] = 2 if isinstance(value, str) else 3
    photo = photos.store(file_of(smooth(), "TIFF", tiffinfo=tags), LARGE)
    assert photo.color_profile == "damaged"


def test_a_damaged_profile_is_said_to_be():
    photo = photos.store(file_of(smooth(), "PNG", icc_profile=b"no profile"), LARGE)
    assert photo.color_profile == "damaged"


def test_a_long_comment_is_dropped():
    for length in (12, 70_000):
        data = file_of(Image.new("P", (20, 20)), "GIF", comment=b"c" * length)
        assert b"ccccc" not in photos.store(data, LARGE).encoded


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
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_short_side_is_reduced_and_never_enlarged(size, expected, kind: str):
    photo = photos.store(file_of(smooth(size[1], size[0]), kind), 64)
    assert (photo.width, photo.height) == expected
    assert (photo.raw_width, photo.raw_height) == size


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG"])
def test_a_plain_photo_equals_pillows_own_result(kind: str):
    options = {"save_all": True, "append_images": [smooth()]} if kind == "MPO" else {}
    data = file_of(blotches(3).resize((832, 1088)), kind, **options)
    image = Image.open(io.BytesIO(data))
    assert image.format == kind
    image.draft("RGB", (100, 100))  # at an eighth: 104 x 136
    image = image.resize((100, 131), Image.Resampling.BICUBIC, reducing_gap=2.0)
    expected = file_of(image, "JPEG", quality=photos.JPEG_QUALITY)
    assert photos.store(data, 100).encoded == expected


def test_reducing_is_antialiased():
    checks = np.indices([512, 512]).sum(0) % 2 * 255  # averages to grey, samples to stripes
    found = stored(file_of(Image.fromarray(checks.astype(np.uint8)), "PNG"), 64)
    np.testing.assert_allclose(found, 127.5, atol=6)


def test_the_short_side_is_measured_after_rotation():
    photo = photos.store(with_orientation(6, image=smooth(480, 640)), 64)
    assert (photo.width, photo.height) == (64, 85)
    assert (photo.raw_width, photo.raw_height) == (480, 640)
