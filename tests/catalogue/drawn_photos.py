"""Photos drawn for the tests of step (a), and files written chunk by chunk and tag by tag.

What Pillow cannot write (depths, odd tags, lies in a header) is written by hand after the PNG
specification, sections 5 and 11, and TIFF 6.0, section 2.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from attr_extractor.catalogue import photos

LARGE = 1000  # an image_size at which nothing is reduced


def smooth(height: int = 48, width: int = 64) -> Image.Image:
    """A photo that JPEG keeps within a few levels, with no symmetry."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = [250 * x, 250 * y, 120 + 100 * np.sin(3 * x + 2 * y)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file as Pillow writes it."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def stored(data: bytes, image_size: int = LARGE, box: photos.Box | None = None) -> np.ndarray:
    """float32 [H, W, 3] of the stored photo, after the checks that every one must pass."""
    photo = photos.store(data, image_size, box)
    image = Image.open(io.BytesIO(photo.encoded))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert (photo.width, photo.height) == image.size
    assert not image.getexif()  # turned pixels must not be turned again
    assert photo.pixels.size == image.size and photo.pixels.mode == "RGB"
    return np.asarray(image, np.float32)


def assert_close(found: np.ndarray, expected: np.ndarray, levels: float = 3.0) -> None:
    """Mean difference below `levels`; nowhere so far off that a colour would be another one."""
    assert found.shape == expected.shape
    difference = np.abs(found - expected.astype(np.float32))
    assert difference.mean() < levels
    assert np.percentile(difference, 98) < 8 * levels


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk: length, name, data, check sum."""
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def png(
    lines: Sequence[bytes],
    size: tuple[int, int],
    depth: int,
    color_type: int,
    *chunks: bytes,
) -> bytes:
    """A PNG of packed lines; size is (width, height), `chunks` stand before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    body = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", pixels)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png_16(values: np.ndarray, color_type: int, *chunks: bytes) -> bytes:
    """A PNG of 16 bits a channel: uint16 [H, W, channels]."""
    height, width = values.shape[:2]
    lines = [row.astype(">u2").tobytes() for row in values]
    return png(lines, (width, height), 16, color_type, *chunks)


def packed(values: np.ndarray, depth: int) -> list[bytes]:
    """Lines of grey levels of 1, 2 or 4 bits, the leftmost pixel in the highest bits."""
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    return [np.packbits(row.ravel()).tobytes() for row in bits]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose header tells another size."""
    header = struct.pack(">II", width, height) + data[24:29]
    return data[:8] + chunk(b"IHDR", header) + data[33:]


WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSET = 256, 257, 258, 259, 262, 273
SAMPLES, COUNT, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSET = 277, 279, 322, 323, 324
EXTRA, FORMAT = 338, 339


def tiff(pixels: bytes, tags: dict[int, Sequence[int]], big_endian: bool = False) -> bytes:
    """A TIFF of one strip or tile: header, one directory of 32-bit numbers, long values, pixels."""
    order = ">" if big_endian else "<"
    tags = {COMPRESSION: [1], **tags}
    where = TILE_OFFSET if TILE_WIDTH in tags else OFFSET
    tags[where], tags[where + 1 if where == TILE_OFFSET else COUNT] = [0], [len(pixels)]
    end = 8 + 2 + 12 * len(tags) + 4
    tags[where] = [end + sum(4 * len(values) for values in tags.values() if len(values) > 1)]
    entries, long_values = b"", b""
    for tag, values in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            here = struct.pack(f"{order}I", end + len(long_values))
            long_values += data
            data = here
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + data
    header = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}I", 8)
    directory = struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0"
    return header + directory + long_values + pixels


def described(photometric: int, *bits: int, size: tuple[int, int] = (64, 48)) -> dict:
    """The tags that every TIFF has; size is (width, height)."""
    return {
        WIDTH: [size[0]],
        HEIGHT: [size[1]],
        BITS: bits,
        PHOTOMETRIC: [photometric],
        SAMPLES: [len(bits)],
    }


def square_tile(side: int) -> dict:
    """The tags of an RGB photo of 64 x 48 in one tile of `side` pixels a side."""
    return {**described(2, 8, 8, 8), TILE_WIDTH: [side], TILE_HEIGHT: [side]}
