"""Format, size and peculiarities of a photo file from its headers, with stock ops."""

from __future__ import annotations

import tensorflow as tf

JPEG, PNG, WEBP, GIF, BMP, OTHER = range(6)
_WEBP_START = r"(?s)RIFF\C{4}WEBPVP8[ LX]\C*"
# A header of at least 40 bytes, 24 or 32 bits a pixel, not compressed.
_PLAIN_BMP = r"(?s)BM\C{12}[\x28-\xff]\x00\x00\x00\C{10}[\x18\x20]\x00\x00\x00\x00\x00"


def kind_of(file: tf.Tensor) -> tf.Tensor:
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
            (tf.strings.regex_full_match(file, _WEBP_START), lambda: tf.constant(WEBP)),
        ],
        default=lambda: tf.constant(OTHER),
    )


def sides(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Return height and width, int64 [2], without decoding; not positive if they are invalid."""

    def fields(start: int, length: int, dtype: tf.DType, little_endian: bool) -> tf.Tensor:
        raw = tf.strings.substr(file, start, length)
        found = tf.io.decode_raw(raw, dtype, little_endian=little_endian)
        return tf.abs(tf.cast(found, tf.int64))[::-1]  # BMP: a negative height means top-down

    found = tf.switch_case(
        kind,
        {
            JPEG: lambda: tf.cast(tf.io.extract_jpeg_shape(file)[:2], tf.int64),
            PNG: lambda: fields(16, 8, tf.int32, little_endian=False),
            GIF: lambda: fields(6, 4, tf.uint16, little_endian=True),
            BMP: lambda: fields(18, 8, tf.int32, little_endian=True),
            WEBP: lambda: _webp_sides(file),
        },
        default=lambda: tf.constant([-1, -1], tf.int64),
    )
    return tf.ensure_shape(found, [2])


def _webp_sides(file: tf.Tensor) -> tf.Tensor:
    """Return height and width of a WebP file from its first chunk: VP8, VP8L or VP8X."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(file, 0, 30), tf.uint8), tf.int64)

    def number(at: int, length: int) -> tf.Tensor:
        return tf.add_n([data[at + i] * 256**i for i in range(length)])

    bits = number(21, 4)  # VP8L: 14 bits of width - 1, then of height - 1
    lossless = [1 + (bits // 2**14) % 2**14, 1 + bits % 2**14]
    lossy = [number(28, 2) % 2**14, number(26, 2) % 2**14]
    extended = [1 + number(27, 3), 1 + number(24, 3)]
    is_lossless, is_lossy = tf.equal(data[15], ord("L")), tf.equal(data[15], ord(" "))
    return tf.where(is_lossless, lossless, tf.where(is_lossy, lossy, extended))


def _is_animated_webp(file: tf.Tensor) -> tf.Tensor:
    flags = tf.io.decode_raw(tf.strings.substr(file, 15, 6), tf.uint8)
    return tf.equal(flags[0], ord("X")) & tf.equal(flags[5] & 2, 2)


def is_plain(file: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """Return bool: whether TensorFlow's decoder supports all of this file, from its headers."""
    return tf.case(
        [
            (tf.equal(kind, GIF), lambda: _is_plain_gif(file)),
            (
                tf.equal(kind, BMP),
                lambda: tf.strings.regex_full_match(tf.strings.substr(file, 0, 34), _PLAIN_BMP),
            ),
            (tf.equal(kind, WEBP), lambda: ~_is_animated_webp(file)),
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
