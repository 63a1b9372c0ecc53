"""Raw files in the served graph: decode, alpha on white, step (b); one broken spoils no other.

Stock ops only, no Python. What the graph cannot do it says in the photo's error instead of
guessing: WebP and TIFF have no decoder in TensorFlow 2.15, and a photo with an EXIF rotation would
be read lying on its side.
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
ROTATED = "image carries an EXIF rotation: rotate its pixels before sending it"

JPEG, PNG, GIF, BMP, OTHER = range(5)
# First bytes of a file whose TIFF directory (either byte order) has orientation 2 .. 8.
_ROTATION = (
    r"(?s)\C{0,64}Exif\x00\x00\C{0,400}("
    r"\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00"
    r"|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08]"
    r")\C*"
)


def read_batch(encoded: tf.Tensor, image_size: int, square: Square) -> tuple[tf.Tensor, tf.Tensor]:
    """Raw files -> pixels, each on its own.

    Args:
      encoded: string [B].

    Returns:
      uint8 [B, image_size, image_size, 3], black where the photo could not be read.
      string [B], why it could not be read, "" where it was.
    """
    return tf.map_fn(
        lambda file: _read(file, image_size, square),
        encoded,
        fn_output_signature=(
            tf.TensorSpec([image_size, image_size, 3], tf.uint8),
            tf.TensorSpec([], tf.string),
        ),
    )


def _read(file: tf.Tensor, image_size: int, square: Square) -> tuple[tf.Tensor, tf.Tensor]:
    black = tf.zeros([image_size, image_size, 3], tf.uint8)
    kind = _kind(file)
    num_pixels = _first_or(lambda data: _num_pixels(data, kind), file, tf.constant(-1, tf.int64))
    head = tf.strings.substr(file, 0, 600)
    error = tf.case(
        [
            (tf.equal(tf.strings.length(file), 0), lambda: tf.constant(EMPTY)),
            (tf.equal(kind, OTHER), lambda: tf.constant(FORMAT)),
            (num_pixels < 1, lambda: tf.constant(DAMAGED)),
            (num_pixels > MAX_PIXELS, lambda: tf.constant(TOO_LARGE)),
            (tf.strings.regex_full_match(head, _ROTATION), lambda: tf.constant(ROTATED)),
        ],
        default=lambda: tf.constant(""),
    )

    def decode(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        photo = pixels.to_model_size(_decode(data, kind), image_size, square)
        return photo, tf.constant("")

    return tf.cond(
        tf.equal(error, ""),
        lambda: _first_or(decode, file, (black, tf.constant(DAMAGED))),
        lambda: (black, error),
    )


def _first_or(function, file: tf.Tensor, fallback):
    """function(file), or the fallback where one of its ops fails."""
    attempt = tf.data.Dataset.from_tensors(file).map(function).ignore_errors(log_warning=False)
    return attempt.concatenate(tf.data.Dataset.from_tensors(fallback)).take(1).get_single_element()


def _kind(file: tf.Tensor) -> tf.Tensor:
    """The format by its first bytes, whatever the file was named."""

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
    """int64 height * width from the header, before anything is decoded."""

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


def _decode(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3], transparency laid on white."""

    def png() -> tf.Tensor:
        rgba = tf.cast(tf.io.decode_png(file, channels=4), tf.float32)  # [H, W, 4]
        alpha = rgba[..., 3:] / 255.0
        on_white = rgba[..., :3] * alpha + pixels.WHITE * (1.0 - alpha)
        return tf.cast(tf.round(on_white), tf.uint8)

    def other() -> tf.Tensor:  # GIF (first frame) and BMP
        return tf.io.decode_image(file, channels=3, expand_animations=False)

    return tf.switch_case(kind, {JPEG: lambda: pixels.decode_jpeg(file), PNG: png}, default=other)
