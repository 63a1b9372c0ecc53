"""A batch of raw photo files in the served graph: steps (a) and (b), with an error per photo.

A photo that the graph cannot read as catalogue/photos.py does gets an error instead of a guess:
TensorFlow has no decoder for TIFF, release 2.15 none for WebP, and its GIF and BMP decoder
ignores transparency and palettes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from attr_extractor.catalogue import photos
from attr_extractor.config import Square
from attr_extractor.records import pixels
from attr_extractor.serving.raw_photos import headers, orientation
from attr_extractor.serving.raw_photos.decode import DIVISORS, decode
from attr_extractor.serving.raw_photos.headers import JPEG, OTHER, PNG, WEBP
from attr_extractor.serving.raw_photos.shrink import shrink

EMPTY = "image file is empty"
FORMAT = "not a JPEG, PNG, GIF or BMP image"
FORMAT_WEBP = "not a JPEG, PNG, GIF, BMP or WebP image"
DAMAGED = "image is truncated or damaged"
VARIANT = "a GIF or WebP with transparency or odd frames, or a BMP with a palette: send it as PNG"

_PARALLEL = 4  # photos of a batch decoded concurrently; limits memory
# TensorFlow would optimise the graph of the dataset again in every call, 2 ms each
_AS_WRITTEN = tf.data.Options()
_AS_WRITTEN.autotune.enabled = False
_AS_WRITTEN.experimental_optimization.apply_default_optimizations = False
_AS_WRITTEN.experimental_optimization.inject_prefetch = False


@dataclass(frozen=True)
class PhotoReader:
    """Reader of photo files for the model: step (a), then step (b).

    Args:
      short_side: maximum of a stored photo's short side, in pixels.
      image_size: side of the model's photos, in pixels.
      webp: whether WebP is read, with an operation that older releases of TensorFlow lack.
    """

    short_side: int
    image_size: int
    square: Square
    webp: bool = False

    def read(self, files: tf.Tensor, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the photos of raw files, and their errors.

        Args:
          files: string [B].
          boxes: int32 [B, 4], the edges left, top, right, bottom of the product in pixels of the
            upright photo; zeros for all of it.

        Returns:
          uint8 [B, image_size, image_size, 3], black if the photo is unreadable.
          string [B], the error of an unreadable photo, else "".
        """
        return _each(self._read, [files, boxes], self.image_size)

    def read_stored(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return stored photos (string [B]) after step (b), and their errors, like `read`."""

        def read(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return pixels.from_stored(file, self.image_size, self.square), tf.constant("")

        return _each(read, [encoded], self.image_size)

    def _read(self, file: tf.Tensor, box: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a photo and "", or black and the error; an op fails if the file is damaged."""
        kind = headers.kind_of(file)
        height, width = tf.unstack(headers.sides(file, kind))
        turn = self._orientation(file, kind)
        raw = tf.where(orientation.is_sideways(turn), [width, height], [height, width])
        top_left, bottom_right = box[1::-1], box[:1:-1]  # int32 [2], rows before columns
        has_box = tf.reduce_any(box != 0)
        raw = tf.cast(tf.clip_by_value(raw, 0, photos.MAX_PIXELS), tf.int32)
        start = tf.where(has_box, tf.maximum(top_left, 0), 0)
        end = tf.where(has_box, tf.minimum(bottom_right, raw), raw)
        short, long = tf.reduce_min(end - start), tf.reduce_max(end - start)
        stored_long = long * tf.minimum(short, self.short_side) // tf.maximum(short, 1)
        unread = [OTHER] if self.webp else [OTHER, WEBP]
        error = tf.case(
            [
                (tf.equal(tf.strings.length(file), 0), lambda: tf.constant(EMPTY)),
                (tf.reduce_any(tf.equal(kind, unread)), lambda: tf.constant(self._format)),
                (height * width < 1, lambda: tf.constant(DAMAGED)),
                (height * width > photos.MAX_PIXELS, lambda: tf.constant(photos.TOO_LARGE)),
                (~headers.is_plain(file, kind), lambda: tf.constant(VARIANT)),
                (
                    has_box & tf.reduce_any(top_left >= bottom_right),
                    lambda: tf.constant(photos.BOX_MALFORMED),
                ),
                (has_box & (short < photos.MIN_BOX_SIDE), lambda: tf.constant(photos.BOX_OUTSIDE)),
                (stored_long > photos.MAX_SIDE, lambda: tf.constant(photos.TOO_LONG)),
            ],
            default=lambda: tf.constant(""),
        )

        def photo() -> tf.Tensor:
            sufficient = tf.equal(kind, JPEG) & (tf.constant(DIVISORS) * self.short_side <= short)
            divisor = tf.gather(DIVISORS, tf.argmax(tf.concat([sufficient[:-1], [True]], axis=0)))
            whole = orientation.upright(decode(file, kind, divisor, self.webp), turn)
            first, last = start // divisor, -(-end // divisor)
            product = whole[first[0] : last[0], first[1] : last[1]]
            stored = tf.io.encode_jpeg(
                shrink(product, self.short_side),
                quality=photos.JPEG_QUALITY,
                chroma_downsampling=True,
            )
            return pixels.from_stored(stored, self.image_size, self.square)

        black = tf.zeros([self.image_size, self.image_size, 3], tf.uint8)
        return tf.cond(tf.equal(error, ""), photo, lambda: black), error

    def _orientation(self, file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
        of_kind = {JPEG: orientation.of_jpeg, PNG: orientation.of_png}
        if self.webp:
            of_kind[WEBP] = orientation.of_webp
        branches = {number: lambda of=of: of(file) for number, of in of_kind.items()}
        return tf.switch_case(kind, branches, default=lambda: tf.constant(1))

    @property
    def _format(self) -> str:
        return FORMAT_WEBP if self.webp else FORMAT


def _each(
    read: Callable[..., tuple[tf.Tensor, tf.Tensor]], inputs: list[tf.Tensor], image_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the photos and errors that `read` gives for each row; where it fails, DAMAGED."""
    size = tf.size(inputs[0], tf.int64)
    rows = tf.data.Dataset.from_tensor_slices(tuple(inputs)).enumerate()
    good = rows.map(
        lambda row, values: (row, *read(*values)), _PARALLEL, deterministic=True
    ).ignore_errors(log_warning=False)
    black = tf.zeros([image_size, image_size, 3], tf.uint8)
    end = tf.data.Dataset.from_tensors((size, black, ""))  # not empty even if all fail
    both = good.concatenate(end).batch(size + 1).with_options(_AS_WRITTEN)
    numbers, photos_read, errors = both.get_single_element()
    wanted = tf.range(size)
    where = tf.searchsorted(numbers, wanted)  # the row itself, or the next readable one
    is_good = tf.equal(tf.gather(numbers, where), wanted)  # bool [B]
    found = tf.gather(photos_read, where)
    found = tf.where(is_good[:, tf.newaxis, tf.newaxis, tf.newaxis], found, black)
    return found, tf.where(is_good, tf.gather(errors, where), DAMAGED)
