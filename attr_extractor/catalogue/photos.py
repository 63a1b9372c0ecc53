"""Step (a): convert a seller's raw photo to the stored photo, a plain RGB JPEG.

Runs once per photo, with Pillow, when records are built and when a table is filled: EXIF rotation,
crop to the product box, alpha on white, RGB, resize of the short side to `image_size` with
antialiasing (smaller photos are not enlarged). Only the first frame or page is used. Colour
profiles are named and not applied: every photo is treated as sRGB, as in TensorFlow. raw_files.py
reads the file; step (b) is in records/pixels.py.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile

from attr_extractor.catalogue.raw_files import (
    CHANGED,
    EMPTY,
    NOT_FOUND,
    OUTSIDE,
    TOO_MANY_BYTES,
    UNREADABLE,
    WEB_ADDRESS,
    PhotoError,
    read_raw,
)

__all__ = ["REASONS", "Box", "PhotoError", "StoredPhoto", "parse_box", "read_raw", "store"]

# Other Pillow plugins are disabled: some run programs (EPS: Ghostscript). MPO comes with JPEG
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
JPEG_QUALITY = 92
REDUCING_GAP = 2  # the smallest scale that is left to resampling after means over blocks
MAX_PIXELS = 100_000_000  # larger photos are rejected as decompression bombs
MAX_SIDE = 65_500  # the longest side that libjpeg can write
MAX_PROFILE_NAME = 64  # characters
MIN_BOX_SIDE = 8  # pixels; smaller product boxes contain no usable detail

NOT_AN_IMAGE = "not an image"
OTHER_FORMAT = "image format is not read, only JPEG, PNG, WebP, GIF, BMP and TIFF are"
TRUNCATED = "image is truncated, damaged or of an unknown variant"
PIXEL_TYPE = "image has 32-bit, signed or floating-point pixels: their white is not known"
TOO_LARGE = f"image has more than {MAX_PIXELS:,} pixels"
TOO_LONG = f"image has a side of more than {MAX_SIDE:,} pixels"
BOX_MALFORMED = "product box is not four numbers with left < right and top < bottom"
BOX_OUTSIDE = f"product box holds less than {MIN_BOX_SIDE} x {MIN_BOX_SIDE} pixels of the photo"

# Every reason for rejecting a photo
REASONS = (
    *(NOT_FOUND, OUTSIDE, WEB_ADDRESS, UNREADABLE, EMPTY, TOO_MANY_BYTES, CHANGED),
    *(NOT_AN_IMAGE, OTHER_FORMAT, TRUNCATED, PIXEL_TYPE, TOO_LARGE, TOO_LONG),
    *(BOX_MALFORMED, BOX_OUTSIDE),
)

_DRAFT = ("JPEG", "MPO")  # decoded at 1/2, 1/4 or 1/8 if that is large enough

# Exceptions that Pillow's decoders raise on damaged bytes, found by fuzzing
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError),
    *(struct.error,),
)
_READ = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8|BM|II[*+]\0|MM\0[*+]", re.DOTALL)
_KNOWN = re.compile(  # HEIC and AVIF (and films), PDF, PostScript, Photoshop, JPEG XL, SVG
    rb"....ftyp|%PDF|%!PS|8BPS|\xff\x0a|\0\0\0\x0cJXL |(\xef\xbb\xbf)?\s*(<\?xml.{0,1000})?<svg",
    re.DOTALL,
)

_PNG_WHITE = {"1": 1, "L;2": 3, "L;4": 15}  # maximum sample value by Pillow's raw mode
_TIFF = ExifTags.Base  # EXIF uses TIFF tags
_BICUBIC = Image.Resampling.BICUBIC
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
_SIDEWAYS = (_TURN.TRANSPOSE, _TURN.ROTATE_270, _TURN.TRANSVERSE, _TURN.ROTATE_90)


class Box(NamedTuple):
    """Product bounding box in pixels of the upright raw photo; (0, 0) is its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class StoredPhoto:
    """JPEG bytes of an RGB photo, with metadata of the raw photo."""

    encoded: bytes
    height: int  # pixels of the stored photo
    width: int
    raw_height: int  # pixels of the whole raw photo, upright
    raw_width: int
    format: str  # Pillow's name of the raw file's format: one of FORMATS, or MPO
    color_profile: str  # the name of its ICC profile; "" if it has none, or sRGB
    pixels: Image.Image  # RGB, before JPEG compression


def silence_pillow() -> None:
    """Silence Pillow's warnings in this process: they print lines to stderr for every odd photo.

    For programs and worker processes; the reasons of rejected photos report the same. It applies to
    the whole process, because warning filters are not per thread.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    linked = ctypes.CDLL(Image.core.__file__)
    if hasattr(linked, "TIFFSetErrorHandler"):  # otherwise libtiff writes to stderr directly
        linked.TIFFSetErrorHandler(None)


def parse_box(cells: Sequence[str]) -> Box | None:
    """Parse a product box from a row's four cells: left, top, right, bottom.

    Returns None if all cells are empty.

    Raises:
      PhotoError: with BOX_MALFORMED.
    """
    if not any(cell.strip() for cell in cells):
        return None
    try:
        box = Box(*map(float, cells))
    except (ValueError, TypeError) as error:
        raise PhotoError(BOX_MALFORMED) from error
    if not all(map(math.isfinite, box)) or box.left >= box.right or box.top >= box.bottom:
        raise PhotoError(BOX_MALFORMED)
    return box


def store(data: bytes, image_size: int, box: Box | None = None) -> StoredPhoto:
    """Convert a raw file in any of FORMATS to the stored photo; its file name is not considered.

    Args:
      data: the bytes of the raw file.
      image_size: the maximum of the stored photo's short side, in pixels.
      box: the region to keep, clipped to the photo. Its edges are rounded outwards to whole
        pixels; for a JPEG, to pixels of the reduced decoding.

    Raises:
      PhotoError: with the reason.
    """
    photo = _open(data)
    try:
        if photo.format not in _DRAFT:
            photo.load()
        turn = _turn(photo)
        raw_width, raw_height = photo.size[::-1] if turn in _SIDEWAYS else photo.size
        kept = Box(0, 0, raw_width, raw_height)
        if box is not None:
            kept = _clip(box, kept)
        divisor = _draft(photo, min(kept.right - kept.left, kept.bottom - kept.top) / image_size)
        photo.load()
        image = _eight_bits(photo)
        if turn is not None:
            image = image.transpose(turn)
        if box is not None:
            image = _crop(image, kept, divisor)
        image = _to_rgb(image)
    except _DAMAGE as error:
        raise PhotoError(TRUNCATED) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(TOO_LARGE) from error
    image = _reduce(image, image_size)
    if max(image.size) > MAX_SIDE:
        raise PhotoError(TOO_LONG)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # drop the seller's comment
    return StoredPhoto(
        encoded=out.getvalue(),
        height=image.height,
        width=image.width,
        raw_height=raw_height,
        raw_width=raw_width,
        format=str(photo.format),
        color_profile=_color_profile(photo),
        pixels=image,
    )


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open a photo, reading only its header; reject photos too large to decode."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise PhotoError(TOO_LARGE) from error
    except _DAMAGE as error:  # UnidentifiedImageError is an OSError
        if _READ.match(data):
            raise PhotoError(TRUNCATED) from error
        raise PhotoError(OTHER_FORMAT if _KNOWN.match(data) else NOT_AN_IMAGE) from error
    tags = getattr(image, "tag_v2", {})  # a TIFF's tile may be larger than its image
    tile = [tags.get(tag, 1) for tag in (_TIFF.TileWidth, _TIFF.TileLength)]
    if not all(isinstance(side, int) for side in tile):
        raise PhotoError(TRUNCATED)
    if max(math.prod(image.size), math.prod(tile)) > MAX_PIXELS:
        raise PhotoError(TOO_LARGE)
    if image.mode in ("I", "F"):
        raise PhotoError(PIXEL_TYPE)
    _scale_transparent_color(image)
    return image


def _scale_transparent_color(image: ImageFile.ImageFile) -> None:
    """Scale a PNG's transparent colour to 8 bits; Pillow scales only the pixels."""
    color = image.info.get("transparency")
    depth = str(image.tile[0][3]) if image.format == "PNG" and image.tile else ""
    if isinstance(color, int) and depth in _PNG_WHITE:
        image.info["transparency"] = min(255, color * (255 // _PNG_WHITE[depth]))
    elif isinstance(color, tuple) and depth == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)


def _turn(image: Image.Image) -> Image.Transpose | None:
    # ImageOps.exif_transpose also rewrites the EXIF, which fails if another tag is invalid
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:  # an invalid EXIF block: no rotation; the pixels may be valid
        return None


def _color_profile(image: Image.Image) -> str:
    data = image.info.get("icc_profile")
    if not data:
        return ""
    if not isinstance(data, bytes):  # a TIFF's tag of another type
        return "damaged"
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    except (ImageCms.PyCMSError, *_DAMAGE):
        return "damaged"
    printable = "".join(filter(str.isprintable, name.strip()))[:MAX_PROFILE_NAME]
    return "" if "srgb" in printable.lower() else printable or "unnamed"


def _clip(box: Box, photo: Box) -> Box:
    left, top = max(box.left, 0), max(box.top, 0)
    right, bottom = min(box.right, photo.right), min(box.bottom, photo.bottom)
    if right - left < MIN_BOX_SIDE or bottom - top < MIN_BOX_SIDE:
        raise PhotoError(BOX_OUTSIDE)
    return Box(left, top, right, bottom)


def _draft(image: Image.Image, reduction: float) -> int:
    """Set a JPEG to decode at the smallest sufficient size; return the divisor."""
    if image.format not in _DRAFT:
        return 1
    divisor = next((n for n in (8, 4, 2) if n <= reduction), 1)
    image.draft("RGB", (image.width // divisor, image.height // divisor))
    return divisor


def _crop(image: Image.Image, box: Box, divisor: int) -> Image.Image:
    left, top = math.floor(box.left / divisor), math.floor(box.top / divisor)
    return image.crop((left, top, math.ceil(box.right / divisor), math.ceil(box.bottom / divisor)))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits as the file defines it; Pillow would clip instead."""
    if not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.uint16)
    if tags.get(_TIFF.BitsPerSample) == (12,):
        values <<= 4
    if tags and tags.get(_TIFF.PhotometricInterpretation, 0) == 0:
        values = ~values  # 0 is white
    scaled = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        scaled.putalpha(Image.fromarray(np.uint8(255) * (values != transparent)))
    return scaled


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reduce(image: Image.Image, image_size: int) -> Image.Image:
    short = min(image.size)
    if short <= image_size:
        return image
    scale = image_size / short
    width, height = (max(1, round(side * scale)) for side in image.size)
    # the steps of Image.resize with reducing_gap, in one order, which depends on Pillow's version;
    # serving/raw_photos/shrink.py repeats them
    across, down = (
        max(1, int(side / target / REDUCING_GAP))
        for side, target in zip(image.size, (width, height))
    )
    length, depth = image.width / across, image.height / down
    if across > 1 or down > 1:
        image = image.reduce((across, down))
    rows = image.resize((width, image.height), _BICUBIC, (0, 0, length, image.height))
    return rows.resize((width, height), _BICUBIC, (0, 0, width, depth))
