"""The orientation of a photo file, 1 .. 8, with stock ops, as Pillow's `getexif` finds it.

It is a tag of the EXIF directory (the main image's, not the thumbnail's), else one of the XMP
packet. Invalid metadata means upright (1), as in catalogue/photos.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_UPRIGHT = 1
_TAG = 0x0112
_BYTES, _SHORTS, _LONGS, _LAST_KIND = (6,), (3, 8), (4, 9, 13), 13  # types of a directory's values
_ENTRY = 12  # bytes
_SEGMENTS = 512  # of a JPEG before its picture: each takes a step of a loop
_APP1, _START_OF_SCAN, _FILL = 0xE1, 0xDA, 0xFF
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_START = r"(?:II|MM)(?:\*\x00|\x00\*)"  # either byte order; Pillow accepts a swapped 42, too
_DIRECTORY = rf"(?s){_START}\C{{4,}}"
_PNG_EXIF = rf"(?s)\C*?eXIf({_START}\C*)"
_WEBP_EXIF = rf"(?s)\C*?EXIF\C{{4}}(?:Exif\x00\x00)?({_START}\C*)"
_XMP_TAG = r'(?s)\C*?tiff:Orientation(?:="|>)([0-9])\C*'


def upright(photo: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotate and flip uint8 [H, W, 3] as an orientation demands."""
    turned = tf.transpose(photo, tf.where(is_sideways(orientation), [1, 0, 2], [0, 1, 2]))
    # orientations whose rows, columns are in reverse order
    reversed_axes = [_is_in(orientation, (3, 4, 7, 8)), _is_in(orientation, (2, 3, 6, 7))]
    return tf.reverse(turned, tf.boolean_mask([0, 1], tf.stack(reversed_axes)))


def is_sideways(orientation: tf.Tensor) -> tf.Tensor:
    """Return whether the upright photo's height is the file's width."""
    return orientation >= 5


def of_jpeg(file: tf.Tensor) -> tf.Tensor:
    """Return the orientation (int32) of a JPEG.

    The op fails if there are more than 512 segments, or something other than segments before the
    picture.
    """
    data = tf.io.decode_raw(file, tf.uint8)  # [bytes]; an index beyond the end is an error

    def marker(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(data[at + 1], tf.int32)

    def length(at: tf.Tensor) -> tf.Tensor:  # of a segment without its marker
        return 256 * tf.cast(data[at + 2], tf.int32) + tf.cast(data[at + 3], tf.int32)

    def is_before_picture(at: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return tf.equal(data[at], 0xFF) & (marker(at) != _START_OF_SCAN)

    def step(at: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor) -> tuple[tf.Tensor, ...]:
        end = at + tf.where(tf.equal(marker(at), _FILL), 1, 2 + length(at))

        def content(name: bytes, default: tf.Tensor) -> tf.Tensor:
            start = tf.strings.substr(file, at + 4, len(name))
            return tf.cond(
                tf.equal(marker(at), _APP1) & tf.equal(start, name),
                lambda: tf.strings.substr(file, at + 4 + len(name), end - at - 4 - len(name)),
                lambda: default,
            )

        # Pillow joins EXIF segments, and uses the last packet of XMP
        return end, tf.strings.join([exif, content(_EXIF, tf.constant(""))]), content(_XMP, xmp)

    at, exif, xmp = tf.while_loop(
        is_before_picture, step, [2, "", ""], maximum_iterations=_SEGMENTS, parallel_iterations=1
    )
    is_picture = tf.equal(data[at], 0xFF) & tf.equal(marker(at), _START_OF_SCAN)
    with tf.control_dependencies([tf.debugging.Assert(is_picture, ["no picture"])]):
        return _first_found(tf.identity(exif), xmp)


def of_png(file: tf.Tensor) -> tf.Tensor:
    """Return the orientation (int32) of a PNG."""
    return _first_found(_captured(file, _PNG_EXIF), file)


def of_webp(file: tf.Tensor) -> tf.Tensor:
    """Return the orientation (int32) of a WebP file."""
    return _first_found(_captured(file, _WEBP_EXIF), file)


def _captured(text: tf.Tensor, pattern: str) -> tf.Tensor:
    """Return what the pattern's group matches, "" if the pattern does not match."""
    return tf.cond(
        tf.strings.regex_full_match(text, pattern),
        lambda: tf.strings.regex_replace(text, pattern, r"\1"),
        lambda: tf.constant(""),
    )


def _first_found(directory: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    """Return the orientation of an EXIF directory with the tag, else of text with XMP's."""

    def of_xmp() -> tf.Tensor:
        digit = _captured(xmp, _XMP_TAG)
        return tf.strings.to_number(tf.where(tf.equal(digit, ""), "1", digit), tf.int32)

    tag = tf.cond(
        tf.strings.regex_full_match(directory, _DIRECTORY),
        lambda: _of_directory(directory),
        lambda: tf.where(tf.equal(directory, ""), -1, 0),
    )
    orientation = tf.cond(tag < 0, of_xmp, lambda: tag)
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, _UPRIGHT)


def _of_directory(directory: tf.Tensor) -> tf.Tensor:
    """Return the value (int32) of the tag, 0 if it is not one integer, -1 without the tag."""
    data = tf.cast(tf.io.decode_raw(directory, tf.uint8), tf.int32)
    size = tf.size(data)
    data = tf.concat([data, [0] * 8], axis=0)
    little_endian = tf.equal(data[0], ord("I"))

    def short(rows: tf.Tensor, at: int) -> tf.Tensor:  # [N, bytes] -> [N]
        first, second = rows[:, at], rows[:, at + 1]
        return tf.where(little_endian, first + 256 * second, 256 * first + second)

    def long(rows: tf.Tensor, at: int) -> tf.Tensor:  # negative from 2^31
        first, second = short(rows, at), short(rows, at + 2)
        return tf.where(little_endian, first + 65536 * second, 65536 * first + second)

    at = long(data[tf.newaxis], 4)[0]
    at = tf.where((at < 0) | (at > size), size, at)
    whole = tf.maximum(0, (size - at - 2) // _ENTRY)  # the rest may be cut off
    count = tf.minimum(short(data[tf.newaxis, at : at + 2], 0)[0], whole)
    entries = tf.reshape(data[at + 2 : at + 2 + _ENTRY * count], [count, _ENTRY])
    kinds, number = short(entries, 2), long(entries, 4)
    is_tag = tf.equal(short(entries, 0), _TAG) & (number > 0) & (kinds >= 1) & (kinds <= _LAST_KIND)
    entry = tf.boolean_mask(entries, is_tag)[:1]
    kind, number = short(entry, 2), long(entry, 4)
    value = tf.zeros_like(kind)  # if the type is another, or the values stand elsewhere
    for types, most, found in (
        (_BYTES, 4, entry[:, 8]),
        (_SHORTS, 2, short(entry, 8)),
        (_LONGS, 1, long(entry, 8)),
    ):
        value = tf.where(_is_in(kind, types) & (number <= most), found, value)
    return tf.concat([value, [-1]], axis=0)[0]


def _is_in(value: tf.Tensor, values: Sequence[int]) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value[..., tf.newaxis], values), axis=-1)
