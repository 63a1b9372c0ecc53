"""Photo files in the served graph: decode, blend with white, step (b); errors are per photo.

Stock ops only, no Python. A photo that the graph cannot decode correctly gets an error instead of a
guess: TensorFlow 2.15 has no decoder for WebP and TIFF, it ignores EXIF rotations, and its GIF and
BMP decoder ignores transparency and palettes.
"""

from __future__ import annotations

import tensorflow as tf

from attr_extractor.catalogue.photos import MAX_PIXELS
from attr_extractor.config import Square
from attr_extractor.records import pixels

EMPTY = "image file is empty"
FORMAT = "not a JPEG, PNG, GIF or BMP image"
DAMAGED = "image is truncated or damaged"
TOO_LARGE = f"image has more than {MAX_PIXELS:,} pixels"
VARIANT = "a GIF with transparency or odd frames, or a BMP with a palette: send it as PNG"
ROTATED = "image carries an EXIF rotation: rotate its pixels before sending it"

JPEG, PNG, GIF, BMP, OTHER = range(5)
_PARALLEL = 4  # photos of a batch decoded concurrently; limits memory
# TensorFlow would optimise the graph of the dataset again in every call, 2 ms each
_AS_WRITTEN = tf.data.Options()
_AS_WRITTEN.autotune.enabled = False
_AS_WRITTEN.experimental_optimization.apply_default_optimizations = False
_AS_WRITTEN.experimental_optimization.inject_prefetch = False
# Start of a JPEG or PNG whose EXIF directory (either byte order) has orientation 2 .. 8.
_HEAD = 131_072  # room for two full segments before the EXIF one
_ROTATION = (
    r"(?s)\C*(Exif\x00\x00|eXIf)\C{0,400}("
    r"\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00"
    r"|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08]"
    r")\C*"
)
# A header of at least 40 bytes, 24 or 32 bits a pixel, not compressed.
_PLAIN_BMP = r"(?s)BM\C{12}[\x28-\xff]\x00\x00\x00\C{10}[\x18\x20]\x00\x00\x00\x00\x00"


def read_batch(encoded: tf.Tensor, image_size: int, square: Square) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode raw files to pixels, each independently.

    Args:
      encoded: string [B].

    Returns:
      uint8 [B, image_size, image_size, 3], black if the photo is unreadable.
      string [B], the error of an unreadable photo, else "".
    """

    def read(row: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return (row, *_read(file, image_size, square))

    size = tf.size(encoded, tf.int64)
    files = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    good = files.map(read, _PARALLEL, deterministic=True).ignore_errors(log_warning=False)
    black = tf.zeros([image_size, image_size, 3], tf.uint8)
    end = tf.data.Dataset.from_tensors((size, black, ""))  # not empty even if all fail
    both = good.concatenate(end).batch(size + 1).with_options(_AS_WRITTEN)
    rows, photos, errors = both.get_single_element()
    wanted = tf.range(size)
    where = tf.searchsorted(rows, wanted)  # the row itself, or the next readable one
    is_good = tf.equal(tf.gather(rows, where), wanted)  # bool [B]
    photos = tf.where(
        is_good[:, tf.newaxis, tf.newaxis, tf.newaxis], tf.gather(photos, where), black
    )
    return photos, tf.where(is_good, tf.gather(errors, where), DAMAGED)


def _read(file: tf.Tensor, image_size: int, square: Square) -> tuple[tf.Tensor, tf.Tensor]:
    """Return pixels and "", or black and the error; an op fails if the file is damaged."""
    kind = _kind(file)
    num_pixels = _num_pixels(file, kind)
    head = tf.strings.substr(file, 0, _HEAD)
    error = tf.case(
        [
            (tf.equal(tf.strings.length(file), 0), lambda: tf.constant(EMPTY)),
            (tf.equal(kind, OTHER), lambda: tf.constant(FORMAT)),
            (num_pixels < 1, lambda: tf.constant(DAMAGED)),
            (num_pixels > MAX_PIXELS, lambda: tf.constant(TOO_LARGE)),
            (tf.logical_not(_is_plain(file, kind)), lambda: tf.constant(VARIANT)),
            (tf.strings.regex_full_match(head, _ROTATION), lambda: tf.constant(ROTATED)),
        ],
        default=lambda: tf.constant(""),
    )
    return tf.cond(
        tf.equal(error, ""),
        lambda: (pixels.to_model_size(_decode(file, kind), image_size, square), error),
        lambda: (tf.zeros([image_size, image_size, 3], tf.uint8), error),
    )


def _kind(file: tf.Tensor) -> tf.Tensor:
    """Return the format according to the first bytes, independent of the file's name."""

    def starts_with(magic: bytes) -> tf.Tensor:
        start = tf.strings.substr(file, 0, len(magic))
        return tf.equal(start, tf.constant(magic))

    return tf.case(
        [
            (starts_with(b"\xff\xd8\xff"), lambda: tf.constant(JPEG)),
            (starts_with(b"\x89PNG\r\n\x1a\n"), lambda: tf.constant(PNG)),
            (starts_with(b"GIF8"), lambda: tf.constant(GIF)),
            (starts_with(b"BM"), lambda: tf.constant(BMP)),
        ],
        default=lambda: tf.constant(OTHER),
    )


def _num_pixels(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Return int64 height * width from the header, without decoding."""

    def field(start: int, length: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        raw = tf.strings.substr(file, start, length)
        sides = tf.io.decode_raw(raw, dtype, little_endian=little_endian)
        return tf.reduce_prod(tf.abs(tf.cast(sides, tf.int64)))  # BMP: negative = top-down

    def jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(file)[:2], tf.int64))

    return tf.switch_case(
        kind,
        {
            JPEG: jpeg,
            PNG: lambda: field(16, 8, tf.int32, little_endian=False),
            GIF: lambda: field(6, 4, tf.uint16, little_endian=True),
            BMP: lambda: field(18, 8, tf.int32, little_endian=True),
        },
        default=lambda: tf.constant(-1, tf.int64),
    )


def _is_plain(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Return bool: whether TensorFlow's decoder supports all of this file, from its headers."""
    return tf.case(
        [
            (tf.equal(kind, GIF), lambda: _is_plain_gif(file)),
            (
                tf.equal(kind, BMP),
                lambda: tf.strings.regex_full_match(tf.strings.substr(file, 0, 34), _PLAIN_BMP),
            ),
        ],
        default=lambda: tf.constant(True),
    )


def _is_plain_gif(file: tf.Tensor) -> tf.Tensor:
    """Return bool: the first frame is opaque and fills the canvas, and no later one is larger.

    The decoder ignores transparency and allocates the largest frame, regardless of the file's
    header, so the header of every frame is checked.
    """
    data = tf.io.decode_raw(file, tf.uint8)  # [bytes]

    def number(at: tf.Tensor, length: int = 1) -> tf.Tensor:  # an index beyond the end is an error
        return sum(tf.cast(data[at + i], tf.int32) * 256**i for i in range(length))

    def colors(flags: tf.Tensor) -> tf.Tensor:  # bytes of a colour table
        return tf.where(flags >= 128, tf.bitwise.left_shift(6, flags & 7), 0)

    width, height = number(6, 2), number(8, 2)

    def after_blocks(at: tf.Tensor) -> tf.Tensor:
        (end,) = tf.while_loop(
            lambda at: data[at] > 0, lambda at: [at + 1 + number(at)], [at], parallel_iterations=1
        )
        return end + 1

    def extension(at, frames, plain):
        transparent = (number(at + 1) == 0xF9) & (number(at + 3) % 2 == 1) & (frames == 0)
        return after_blocks(at + 2), frames, plain & ~transparent

    def frame(at, frames, plain):
        sides = number(at + 5, 2), number(at + 7, 2)
        fits = (sides[0] <= width) & (sides[1] <= height)
        fills = (sides[0] == width) & (sides[1] == height)
        at = after_blocks(at + 11 + colors(number(at + 9)))
        return at, frames + 1, plain & tf.where(frames == 0, fills, fits)

    def visit(at, frames, plain):
        return tf.cond(
            number(at) == 0x21,
            lambda: extension(at, frames, plain),
            lambda: frame(at, frames, plain),
        )

    def more(at, frames, plain):
        kind = number(tf.minimum(at, tf.size(data) - 1))
        return (at < tf.size(data)) & plain & ((kind == 0x21) | (kind == 0x2C))

    start = 13 + colors(number(10))
    return tf.while_loop(more, visit, [start, 0, True], parallel_iterations=1)[2]


def _decode(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Return uint8 [H, W, 3], transparency blended with white."""

    def png() -> tf.Tensor:
        rgba = tf.cast(tf.io.decode_png(file, channels=4), tf.float32)  # [H, W, 4]
        # if a PNG has 1, 2 or 4 bits and no tRNS chunk, the decoder's opaque is 2^bits - 1
        bits = tf.io.decode_raw(tf.strings.substr(file, 24, 1), tf.uint8)[0]
        given = tf.strings.regex_full_match(tf.strings.substr(file, 0, _HEAD), r"(?s)\C*tRNS\C*")
        opaque = tf.where((bits < 8) & ~given, 2.0 ** tf.cast(bits, tf.float32) - 1.0, 255.0)
        alpha = rgba[..., 3:] / opaque
        on_white = rgba[..., :3] * alpha + pixels.WHITE * (1.0 - alpha)
        return tf.cast(tf.round(on_white), tf.uint8)

    def other() -> tf.Tensor:  # GIF (first frame) and BMP
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    return tf.switch_case(kind, {JPEG: lambda: pixels.decode_jpeg(file), PNG: png}, default=other)
