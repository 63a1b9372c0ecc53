"""Tests of randomly damaged photos: a reason or a stored photo, and nothing on stderr."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.catalogue.photos import Box, PhotoError
from tests.catalogue.drawn_photos import (
    COMPRESSION,
    EXTRA,
    SAMPLES,
    chunk,
    described,
    file_of,
    packed,
    png,
    png_16,
    smooth,
    square_tile,
    tiff,
    with_size,
)
from tests.conftest import ROOT


def files_of_every_kind() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    files = [file_of(smooth(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    files += [file_of(smooth(), kind) for kind in ("GIF", "BMP")]
    files += [file_of(smooth(), "JPEG", progressive=True)]
    files += [file_of(smooth().convert("CMYK"), "JPEG")]
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        files.append(file_of(smooth(), "TIFF", compression=compression))
    files.append(file_of(smooth().convert("1"), "TIFF", compression="group4"))
    files += [file_of(smooth().convert(mode), "TIFF") for mode in ("LAB", "CMYK", "RGBA", "P")]
    files.append(tiff(bytes(48 * 64 * 4), {**described(2, 8, 8, 8, 8), EXTRA: [1]}))
    files.append(tiff(zlib.compress(bytes(64 * 64 * 3)), {**square_tile(64), COMPRESSION: [8]}))
    files.append(file_of(smooth().convert("P"), "PNG", transparency=3))
    files.append(png_16(np.zeros([48, 64, 1], np.uint16), 0, chunk(b"tRNS", b"\0\0")))
    files.append(png(packed(np.zeros([48, 64]), 2), (64, 48), 2, 0, chunk(b"tRNS", b"\0\1")))
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        files.append(file_of(smooth(), kind, save_all=True, append_images=[smooth()]))
    return files


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return a photo with a few bytes changed, inserted, removed or cut off, often at an end."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 2, 8])):
        near = draw.randrange(draw.choice([len(changed), 150]))
        at = draw.choice([near, near, max(0, len(changed) - near)])
        new = [draw.randrange(256) for _ in range(draw.choice([0, 1, 1, 3]))]
        changed[at : at + draw.choice([0, 1, 1, 5])] = bytes(new)
    return bytes(changed[: draw.choice([len(changed)] * 4 + [draw.randrange(len(changed))])])


@pytest.mark.filterwarnings("ignore:::PIL")  # programs silence them
def test_damaged_bytes_raise_only_photo_errors():
    draw = random.Random(0)
    outcomes = []
    for data in files_of_every_kind():
        assert photos.store(data, 32).encoded
        for _ in range(80):
            try:
                photos.store(damaged(data, draw), 32, draw.choice([None, Box(3.5, 2, 40.2, 37)]))
                outcomes.append("stored")
            except PhotoError as error:
                outcomes.append(str(error))
    assert set(outcomes) <= {"stored", *photos.REASONS}
    assert 0.1 < outcomes.count("stored") / len(outcomes) < 0.9


RGB = np.asarray(smooth()).tobytes()
RGB_TAGS = described(2, 8, 8, 8)
LZW = file_of(smooth(), "TIFF", compression="tiff_lzw")
NOISY = {  # what Pillow, or a library under it, says of it on stderr
    "Corrupt EXIF": b"II*\0\x08\0\0\0\xff\xff" + bytes(90),
    "More samples per pixel": tiff(RGB, {**RGB_TAGS, SAMPLES: [5000]}),
    "Invalid APNG": png([bytes(192)] * 48, (64, 48), 8, 2, chunk(b"acTL", bytes(8))),
    "DecompressionBombWarning": with_size(png([], (64, 48), 8, 2), 10_000, 9_999),
    "LZWDecode": LZW[:300] + bytes(200) + LZW[500:],
}
PROGRAM = """
import sys
from pathlib import Path
from attr_extractor.catalogue import photos

photos.silence_pillow()
for path in sys.argv[1:]:
    try:
        photos.store(Path(path).read_bytes(), 32)
    except photos.PhotoError as error:
        assert str(error) in photos.REASONS
"""
PILLOW_ALONE = """
import io, sys
from pathlib import Path
from PIL import Image

for path in sys.argv[1:]:
    try:
        Image.open(io.BytesIO(Path(path).read_bytes())).load()
    except (OSError, SyntaxError):
        pass
"""


def test_pillow_prints_nothing_to_stderr(tmp_path: Path):
    paths = [tmp_path / str(number) for number in range(len(NOISY))]
    for path, data in zip(paths, NOISY.values()):
        path.write_bytes(data)
    said = []
    for program in (PILLOW_ALONE, PROGRAM):
        command = [sys.executable, "-W", "always", "-c", program, *map(str, paths)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert result.returncode == 0, result.stderr
        said.append(result.stderr)
    for words in NOISY:
        assert words in said[0]
    assert said[1] == ""
