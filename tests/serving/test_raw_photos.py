"""Test `serving/raw_photos.py`: raw files decoded in the graph, against Pillow on the same bytes.

A photo of the model's size is not resampled: lossless formats must equal Pillow's pixels exactly,
transparent ones to one rounding step.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.records import pixels
from attr_extractor.serving import raw_photos

SIZE = 64
BOMB = 60_000  # pixels a side: 3.6 billion


@pytest.fixture(scope="module")
def read():
    """Return a function: raw files -> (uint8 [B, SIZE, SIZE, 3], list of errors)."""
    graph = tf.function(
        lambda encoded: raw_photos.read_batch(encoded, SIZE, "squeeze"),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )

    def call(*files: bytes):
        found, errors = graph(tf.constant(list(files), tf.string))
        return found.numpy(), [error.decode() for error in errors.numpy()]

    return call


def scene(size: int = SIZE) -> Image.Image:
    """Draw smooth shading, hard edges and a little noise, like a garment on a plain ground."""
    y, x = np.mgrid[:size, :size] / size
    shade = np.stack([0.9 - 0.5 * x, 0.8 - 0.3 * y, 0.6 + 0.3 * x * y], axis=-1)
    shade[(np.abs(x - 0.5) < 0.25) & (y > 0.2)] *= [0.9, 0.25, 0.3]
    noise = np.random.default_rng(0).normal(0, 0.01, [size, size, 3])
    return Image.fromarray((np.clip(shade + noise, 0, 1) * 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def on_white(data: bytes) -> np.ndarray:
    """Return Pillow's pixels of a file, blended with white: uint8 [H, W, 3]."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))


def with_alpha() -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def two_frames() -> bytes:
    first, second = scene().quantize(), scene().rotate(180).quantize()
    return encode(first, "GIF", save_all=True, append_images=[second])


OPAQUE = {
    "PNG": lambda: encode(scene(), "PNG"),
    "grey PNG": lambda: encode(scene().convert("L"), "PNG"),
    "1-bit PNG": lambda: encode(scene().convert("1"), "PNG"),
    "palette PNG": lambda: encode(scene().quantize(), "PNG"),
    "4-bit palette PNG": lambda: encode(scene().quantize(16), "PNG", bits=4),
    "1-bit palette PNG": lambda: encode(scene().quantize(2), "PNG", bits=1),
    "GIF": lambda: encode(scene().quantize(), "GIF"),
    "GIF of two frames": two_frames,
    "BMP": lambda: encode(scene(), "BMP"),
}
TRANSPARENT = {
    "RGBA PNG": lambda: encode(with_alpha(), "PNG"),
    "grey and alpha PNG": lambda: encode(with_alpha().convert("LA"), "PNG"),
    "palette PNG": lambda: encode(scene().quantize(), "PNG", transparency=3),
    "4-bit palette PNG": lambda: encode(scene().quantize(16), "PNG", bits=4, transparency=3),
    "grey PNG with a clear shade": lambda: encode(scene().convert("L"), "PNG", transparency=150),
    "1-bit PNG with a clear shade": lambda: encode(scene().convert("1"), "PNG", transparency=0),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_lossless_formats_equal_pillows_pixels(read, name):
    data = OPAQUE[name]()
    found, errors = read(data)
    assert errors == [""]
    np.testing.assert_array_equal(found[0], on_white(data))


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_blended_with_white(read, name):
    data = TRANSPARENT[name]()
    found, errors = read(data)
    assert errors == [""]
    assert difference(found[0], on_white(data)).max() <= 1  # one rounding step
    opaque = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert difference(on_white(data), opaque).max() > 50  # transparency does matter here


def test_a_16_bit_png_is_scaled_not_clipped(read):
    wide = np.random.default_rng(0).integers(0, 65536, [SIZE, SIZE], dtype=np.uint16)
    found, errors = read(encode(Image.fromarray(wide), "PNG"))
    assert errors == [""]
    assert difference(found[0], (wide // 256)[..., np.newaxis]).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_pixels_are_close_to_pillows(read, mode, progressive):
    data = encode(scene().convert(mode), "JPEG", quality=95, progressive=progressive)
    found, errors = read(data)
    assert errors == [""]
    # two builds of libjpeg, each with its own upsampling of the colour planes
    assert difference(found[0], on_white(data)).mean() < 1.0


def test_a_raw_photo_is_close_to_the_stored_photo(read):
    data = encode(scene(480).crop((0, 0, 400, 480)), "JPEG", quality=92)
    stored = pixels.from_stored(photos.store(data, 256).encoded, SIZE, "squeeze").numpy()
    found, errors = read(data)
    assert errors == [""]
    # of 255: the second JPEG and Pillow's own resampling
    assert difference(found[0], stored).mean() < 2.0
    assert difference(found[0], stored).max() < 40


def test_real_raw_photos_are_close_to_the_stored_photos(read, real_data):
    files = sorted((real_data / "clothing_attributes" / "images").glob("*.jpg"))[:24]
    found, errors = read(*(path.read_bytes() for path in files))
    assert set(errors) == {""}
    for path, photo in zip(files, found):
        stored = photos.store(path.read_bytes(), 256).encoded
        two_steps = pixels.from_stored(stored, SIZE, "squeeze").numpy()
        assert difference(photo, two_steps).mean() < 4.0, path.name


def test_formats_without_a_decoder_are_flagged(read):
    files = [encode(scene(), kind) for kind in ("WEBP", "TIFF")]
    assert read(*files)[1] == [raw_photos.FORMAT] * 2


def test_an_empty_file_and_garbage_are_flagged(read):
    noise = np.random.default_rng(0).bytes(5000)
    assert read(b"", noise, b"\x00")[1] == [raw_photos.EMPTY, raw_photos.FORMAT, raw_photos.FORMAT]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_file_cut_at_any_length_is_flagged_and_black(read, kind):
    image = scene().quantize() if kind == "GIF" else scene()
    data = encode(image, kind)
    # the last bytes of a PNG or GIF say only that it ends
    lengths = [*range(1, 60), *np.linspace(60, 0.9 * len(data), 40).astype(int)]
    found, errors = read(*(data[:length] for length in lengths))
    assert set(errors) <= {raw_photos.DAMAGED, raw_photos.FORMAT, raw_photos.VARIANT}
    assert errors[-1] == raw_photos.DAMAGED
    assert not found.any()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_magic_number_followed_by_noise_is_flagged(read, kind):
    start = encode(scene(), kind)[:8]
    files = [start + np.random.default_rng(seed).bytes(3000) for seed in range(10)]
    assert "" not in read(*files)[1]


def bombs() -> dict[str, bytes]:
    """Return files of a few bytes whose headers declare BOMB x BOMB pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", BOMB, BOMB, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    png += struct.pack(">I", zlib.crc32(header))
    jpeg = encode(scene(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg = jpeg[:at] + struct.pack(">HH", BOMB, BOMB) + jpeg[at + 4 :]
    gif = encode(scene().quantize(), "GIF")
    gif = gif[:6] + struct.pack("<HH", BOMB, BOMB) + gif[10:]
    bmp = encode(scene(), "BMP")
    upside_down = bmp[:18] + struct.pack("<ii", BOMB, -BOMB) + bmp[26:]
    bmp = bmp[:18] + struct.pack("<ii", BOMB, BOMB) + bmp[26:]
    return {"PNG": png, "JPEG": jpeg, "GIF": gif, "BMP": bmp, "BMP, top down": upside_down}


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "BMP, top down"])
def test_a_pixel_bomb_is_rejected_by_its_header(read, name):
    # refused with the reason of the header; an attempt to decode would say DAMAGED
    assert read(bombs()[name])[1] == [raw_photos.TOO_LARGE]


def test_a_gif_frame_larger_than_its_header_is_rejected_without_decoding(read):
    # 12,000 x 12,000 pixels, all of them there, in 107 kB that claim 8 x 8
    whole = encode(Image.new("P", (12_000, 12_000)), "GIF")
    small = encode(Image.new("P", (8, 8)), "GIF")
    lie = small[:-1] + whole[whole.index(b",\0\0\0\0") :]
    only = whole[:6] + struct.pack("<HH", 8, 8) + whole[10:]
    assert read(small, lie, only)[1] == ["", raw_photos.VARIANT, raw_photos.VARIANT]


def test_gif_and_bmp_variants_that_tensorflow_decodes_wrongly_are_flagged(read):
    files = [
        encode(scene().quantize(), "GIF", transparency=3),
        encode(scene().quantize(), "BMP"),
        encode(scene().convert("1"), "BMP"),
    ]
    assert read(*files)[1] == [raw_photos.VARIANT] * len(files)


def exif(orientation: int, byte_order: str) -> bytes:
    """Return an EXIF directory with maker, orientation and resolution unit."""
    entries = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, None), (0x0128, 3, 1, None)]
    out = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(byte_order + "IH", 8, 3)
    for tag, kind, count, raw in entries:
        number = orientation if tag == 0x0112 else 2
        value = raw or struct.pack(byte_order + "HH", number, 0)
        out += struct.pack(byte_order + "HHI", tag, kind, count) + value
    return out + bytes(4)


def segment(marker: bytes, content: bytes) -> bytes:
    return marker + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("place", ["first", "behind XMP", "PNG"])
def test_exif_rotations_are_flagged_and_an_upright_photo_is_not(read, byte_order, place):
    files = []
    for orientation in range(1, 9):
        block = exif(orientation, byte_order)
        if place == "PNG":
            files.append(encode(scene(), "PNG", exif=block))
        else:
            xmp = segment(b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0".ljust(5000, b" "))
            before = b"" if place == "first" else xmp
            app1 = segment(b"\xff\xe1", b"Exif\0\0" + block)
            plain = encode(scene(), "JPEG")
            files.append(plain[:2] + before + app1 + plain[2:])
        assert Image.open(io.BytesIO(files[-1])).getexif()[0x0112] == orientation
    assert read(*files)[1] == ["", *[raw_photos.ROTATED] * 7]


def test_broken_files_do_not_change_the_pixels_of_other_rows(read):
    good = [encode(scene().rotate(angle), "JPEG") for angle in (0, 90, 180)]
    alone = read(*good)[0]
    found, errors = read(good[0], b"", good[1], b"\xff\xd8\xff", bombs()["PNG"], good[2])
    np.testing.assert_array_equal(found[[0, 2, 5]], alone)
    assert [i for i, error in enumerate(errors) if error] == [1, 3, 4]
    assert not found[[1, 3, 4]].any()
