"""Step (a): a raw photo as a seller sent it -> the stored photo, a plain RGB JPEG.

Done once, with Pillow, when records are built and when a table is filled: EXIF rotation, alpha on
white, RGB, the short side reduced to `image_size` with antialiasing (a smaller photo is not
enlarged). What follows, step (b), is in records/pixels.py.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

JPEG_QUALITY = 92
MAX_PIXELS = 100_000_000  # a larger photo is taken for a decompression bomb
MAX_SIDE = 65_500  # libjpeg writes no longer side
# What Pillow's decoders raise on damaged bytes, found by feeding them some
_DAMAGE = (OSError, SyntaxError, ValueError, LookupError, EOFError, RuntimeError, struct.error)

# Pillow warns at a lower limit than ours; once for the process, because filters know no threads
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class PhotoError(Exception):
    """A photo that cannot be used; the message is one of the reasons below."""


NOT_FOUND = "image not found"
OUTSIDE = "image path leaves the image root"
UNREADABLE = "image file cannot be read"
EMPTY = "image file is empty"
NOT_AN_IMAGE = "not an image"
TRUNCATED = "image is truncated or damaged"
TOO_LARGE = f"image has more than {MAX_PIXELS:,} pixels"
TOO_LONG = f"image has a side of more than {MAX_SIDE:,} pixels"

_TURN = Image.Transpose
_UPRIGHT = {  # by EXIF orientation
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}


@dataclass(frozen=True)
class StoredPhoto:
    """JPEG bytes of an RGB photo and its size in pixels."""

    encoded: bytes
    height: int
    width: int


def read_raw(image_root: Path, relative: str) -> bytes:
    """The bytes of a photo below the image root.

    Raises:
      PhotoError: no such file, an empty one, or a path (or link) that leaves the root.
    """
    root = image_root.resolve()
    try:
        path = (root / relative).resolve()
        if root not in path.parents:
            raise PhotoError(OUTSIDE)
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise PhotoError(NOT_FOUND) from error
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, links in a circle
        raise PhotoError(UNREADABLE) from error
    if not data:
        raise PhotoError(EMPTY)
    return data


def store(data: bytes, image_size: int) -> StoredPhoto:
    """The stored photo of a raw file of any format that Pillow reads, whatever its name says.

    Args:
      data: the bytes of the raw file.
      image_size: pixels of the stored photo's short side, at most.

    Raises:
      PhotoError: with the reason.
    """
    image = _open(data)
    image.draft("RGB", (image_size, image_size))  # JPEG: decode at 1/2, 1/4 or 1/8 where enough
    try:
        image.load()
        image = _to_rgb(_upright(image))
    except _DAMAGE as error:
        raise PhotoError(TRUNCATED) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(TOO_LARGE) from error
    short = min(image.size)
    if short > image_size:
        scale = image_size / short
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    if max(image.size) > MAX_SIDE:
        raise PhotoError(TOO_LONG)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # not the seller's comment
    return StoredPhoto(out.getvalue(), height=image.height, width=image.width)


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise PhotoError(TOO_LARGE) from error
    except _DAMAGE as error:  # UnidentifiedImageError is an OSError
        raise PhotoError(NOT_AN_IMAGE) from error
    if image.width * image.height > MAX_PIXELS:
        raise PhotoError(TOO_LARGE)
    return image


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose writes the EXIF anew as well, which fails where another tag is odd
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip instead of scaling
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
