"""Test `serving/raw_photos/`: raw files in the graph, against Pillow's way of the same files.

The pixels must be equal to the bit: photos.store with Pillow, then step (b), is what records hold.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from attr_extractor.catalogue import photos
from attr_extractor.records import pixels
from attr_extractor.serving.raw_photos import batch

SIZE = 64
SHORT_SIDE = 96
BOMB = 60_000  # pixels a side: 3.6 billion
SIZES = [(60, 80), (97, 90), (131, 203), (400, 300), (777, 901)]  # width, height; JPEG up to 1/8


def reader(webp: bool = False):
    """Return a function: raw files, boxes -> (uint8 [B, SIZE, SIZE, 3], list of errors)."""
    of_graph = batch.PhotoReader(SHORT_SIDE, SIZE, "squeeze", webp)
    graph = tf.function(
        of_graph.read,
        input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 4], tf.int32)],
        autograph=False,
    )

    def call(*files: bytes, boxes=None):
        boxes = np.zeros([len(files), 4], np.int32) if boxes is None else boxes
        found, errors = graph(tf.constant(list(files), tf.string), boxes)
        return found.numpy(), [error.decode() for error in errors.numpy()]

    return call


@pytest.fixture(scope="module")
def read():
    return reader()


def scene(width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Draw smooth shading, hard edges and a little noise, like a garment on a plain ground."""
    y, x = np.mgrid[:height, :width]
    x, y = x / width, y / height
    shade = np.stack([0.9 - 0.5 * x, 0.8 - 0.3 * y, 0.6 + 0.3 * x * y], axis=-1)
    shade[(np.abs(x - 0.5) < 0.25) & (y > 0.2)] *= [0.9, 0.25, 0.3]
    noise = np.random.default_rng(0).normal(0, 0.03, shade.shape)
    return Image.fromarray((np.clip(shade + noise, 0, 1) * 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(image: Image.Image, kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(image, kind, exif=exif)


def of_table(data: bytes, box: photos.Box | None = None) -> np.ndarray:
    """Return the pixels that a table's photo has in the model."""
    return pixels.from_stored(photos.store(data, SHORT_SIDE, box).encoded, SIZE, "squeeze").numpy()


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def two_frames(image: Image.Image) -> bytes:
    first, second = image.quantize(), image.rotate(180).quantize()
    return encode(first, "GIF", save_all=True, append_images=[second])


def png_of_16_bits(image: Image.Image, color_type: int) -> bytes:
    """Return a PNG, which Pillow cannot write: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    shape = [image.height, image.width, channels]
    samples = np.random.default_rng(0).integers(0, 65536, shape).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", *image.size, 16, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


FILES = {
    "JPEG": lambda i: encode(i, "JPEG"),
    "JPEG 4:4:4": lambda i: encode(i, "JPEG", subsampling="4:4:4"),
    "JPEG 4:2:2": lambda i: encode(i, "JPEG", subsampling="4:2:2"),
    "JPEG 4:1:1": lambda i: encode(i, "JPEG", subsampling="4:1:1"),
    "progressive JPEG": lambda i: encode(i, "JPEG", progressive=True),
    "grey JPEG": lambda i: encode(i.convert("L"), "JPEG"),
    "CMYK JPEG": lambda i: encode(i.convert("CMYK"), "JPEG"),
    "JPEG of RGB": lambda i: encode(i, "JPEG", keep_rgb=True),
    "JPEG with restarts": lambda i: encode(i, "JPEG", restart_marker_blocks=3),
    "JPEG with a profile": lambda i: encode(i, "JPEG", icc_profile=bytes(range(256)) * 300),
    "turned JPEG": lambda i: turned(i, "JPEG", 6),
    "PNG": lambda i: encode(i, "PNG"),
    "turned PNG": lambda i: turned(i, "PNG", 5),
    "grey PNG": lambda i: encode(i.convert("L"), "PNG"),
    "1-bit PNG": lambda i: encode(i.convert("1"), "PNG"),
    "palette PNG": lambda i: encode(i.quantize(), "PNG"),
    "4-bit palette PNG": lambda i: encode(i.quantize(16), "PNG", bits=4),
    "1-bit palette PNG": lambda i: encode(i.quantize(2), "PNG", bits=1),
    "RGBA PNG": lambda i: encode(with_alpha(i), "PNG"),
    "grey and alpha PNG": lambda i: encode(with_alpha(i).convert("LA"), "PNG"),
    "clear palette PNG": lambda i: encode(i.quantize(), "PNG", transparency=3),
    "clear 4-bit PNG": lambda i: encode(i.quantize(16), "PNG", bits=4, transparency=3),
    "grey PNG with a clear shade": lambda i: encode(i.convert("L"), "PNG", transparency=150),
    "1-bit PNG with a clear shade": lambda i: encode(i.convert("1"), "PNG", transparency=0),
    "RGB PNG with a clear colour": lambda i: encode(i, "PNG", transparency=i.getpixel((9, 9))),
    "16-bit grey PNG": lambda i: png_of_16_bits(i, 0),
    "16-bit RGB PNG": lambda i: png_of_16_bits(i, 2),
    "16-bit grey and alpha PNG": lambda i: png_of_16_bits(i, 4),
    "16-bit RGBA PNG": lambda i: png_of_16_bits(i, 6),
    "GIF": lambda i: encode(i.quantize(), "GIF"),
    "GIF of two frames": two_frames,
    "BMP": lambda i: encode(i, "BMP"),
    "BMP of 32 bits": lambda i: encode(with_alpha(i), "BMP"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_pixels_of_a_tables_photo(read, name):
    files = [FILES[name](scene(*size)) for size in SIZES]
    found, errors = read(*files)
    assert errors == [""] * len(files)
    for photo, file in zip(found, files):
        np.testing.assert_array_equal(photo, of_table(file))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_product_box_is_cut_as_from_a_tables_photo(read, kind):
    random = np.random.default_rng(1)
    files, boxes, expected, reasons = [], [], [], []
    for _ in range(60):
        file = turned(scene(*random.integers(60, 900, 2)), kind, int(random.integers(1, 9)))
        box = random.integers(-30, 900, 4)
        if random.random() < 0.8:  # otherwise often without an area
            box[[0, 2]], box[[1, 3]] = sorted(box[[0, 2]]), sorted(box[[1, 3]])
        files.append(file)
        boxes.append(box)
        try:
            expected.append(of_table(file, photos.parse_box(box.astype(str))))
            reasons.append("")
        except photos.PhotoError as error:
            expected.append(np.zeros([SIZE, SIZE, 3]))
            reasons.append(str(error))
    found, errors = read(*files, boxes=np.array(boxes, np.int32))
    assert errors == reasons
    assert set(reasons) == {"", photos.BOX_MALFORMED, photos.BOX_OUTSIDE}
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("folder", ["worn_clothes_cc0", "clothing_attributes", "high_street"])
def test_real_photos_have_the_pixels_of_a_tables_photos(read, real_data, folder):
    paths = sorted((real_data / folder / "images").rglob("*.jpg"))[::40]
    files = [path.read_bytes() for path in paths]
    found, errors = read(*files)
    assert set(errors) == {""}
    np.testing.assert_array_equal(found, [of_table(file) for file in files])


def test_photos_of_24_megapixels_in_a_batch_take_the_memory_of_small_ones(tmp_path):
    # decoded whole, each would take 72 MB as bytes
    (tmp_path / "phone.jpg").write_bytes(turned(scene(4000, 6000), "JPEG", 8))
    program = """
import resource, sys
import numpy as np
import tensorflow as tf
from attr_extractor.catalogue import photos
from attr_extractor.records import pixels
from attr_extractor.serving.raw_photos.batch import PhotoReader
file = open(sys.argv[1], "rb").read()
expected = pixels.from_stored(photos.store(file, 256).encoded, 224, "squeeze").numpy()
read = tf.function(PhotoReader(256, 224, "squeeze").read, autograph=False)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
read(tf.constant([file[:1000]]), tf.zeros([1, 4], tf.int32))
before = peak()
found, errors = read(tf.constant([file] * 16), tf.zeros([16, 4], tf.int32))
assert not any(errors.numpy()), errors
np.testing.assert_array_equal(found, np.stack([expected] * 16))
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "phone.jpg")],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert int(done.stdout) < 400  # MiB


@pytest.mark.skipif(not hasattr(tf.io, "decode_webp"), reason="TensorFlow has no decoder of WebP")
def test_webp_is_read_if_the_graph_is_made_for_it():
    files = [
        encode(scene(300, 400), "WEBP"),
        encode(scene(300, 401), "WEBP", lossless=True),
        encode(with_alpha(scene(300, 402)), "WEBP"),
        turned(scene(300, 403), "WEBP", 6),
        encode(scene(), "WEBP", save_all=True, append_images=[scene().rotate(180)]),
    ]
    found, errors = reader(webp=True)(*files)
    assert errors == ["", "", "", "", batch.VARIANT]
    np.testing.assert_array_equal(found[:4], [of_table(file) for file in files[:4]])


def test_stored_photos_are_not_stored_again():
    stored = [photos.store(encode(scene(*size), "JPEG"), SHORT_SIDE).encoded for size in SIZES]
    of_graph = batch.PhotoReader(SHORT_SIDE, SIZE, "squeeze")
    found, errors = of_graph.read_stored(tf.constant([*stored, stored[0][:-300]]))
    assert errors.numpy().tolist() == [b""] * len(stored) + [batch.DAMAGED.encode()]
    expected = [pixels.from_stored(photo, SIZE, "squeeze") for photo in stored]
    np.testing.assert_array_equal(found[:-1], expected)


def test_formats_without_a_decoder_are_flagged(read):
    files = [encode(scene(), kind) for kind in ("WEBP", "TIFF")]
    assert read(*files)[1] == [batch.FORMAT] * 2


def test_an_empty_file_and_garbage_are_flagged(read):
    noise = np.random.default_rng(0).bytes(5000)
    assert read(b"", noise, b"\x00")[1] == [batch.EMPTY, batch.FORMAT, batch.FORMAT]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_file_cut_at_any_length_is_flagged_and_black(read, kind):
    image = scene().quantize() if kind == "GIF" else scene()
    data = encode(image, kind)
    # the last bytes of a PNG or GIF say only that it ends
    lengths = [*range(1, 60), *np.linspace(60, 0.9 * len(data), 40).astype(int)]
    found, errors = read(*(data[:length] for length in lengths))
    assert set(errors) <= {batch.DAMAGED, batch.FORMAT, batch.VARIANT}
    assert errors[-1] == batch.DAMAGED
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
    assert read(bombs()[name])[1] == [photos.TOO_LARGE]


def test_a_gif_frame_larger_than_its_header_is_rejected_without_decoding(read):
    # 12,000 x 12,000 pixels, all of them there, in 107 kB that claim 8 x 8
    whole = encode(Image.new("P", (12_000, 12_000)), "GIF")
    small = encode(Image.new("P", (8, 8)), "GIF")
    lie = small[:-1] + whole[whole.index(b",\0\0\0\0") :]
    only = whole[:6] + struct.pack("<HH", 8, 8) + whole[10:]
    assert read(small, lie, only)[1] == ["", batch.VARIANT, batch.VARIANT]


def test_gif_and_bmp_variants_that_tensorflow_decodes_wrongly_are_flagged(read):
    files = [
        encode(scene().quantize(), "GIF", transparency=3),
        encode(scene().quantize(), "BMP"),
        encode(scene().convert("1"), "BMP"),
    ]
    assert read(*files)[1] == [batch.VARIANT] * len(files)


def test_broken_files_do_not_change_the_pixels_of_other_rows(read):
    good = [encode(scene().rotate(angle), "JPEG") for angle in (0, 90, 180)]
    alone = read(*good)[0]
    found, errors = read(good[0], b"", good[1], b"\xff\xd8\xff", bombs()["PNG"], good[2])
    np.testing.assert_array_equal(found[[0, 2, 5]], alone)
    assert [i for i, error in enumerate(errors) if error] == [1, 3, 4]
    assert not found[[1, 3, 4]].any()
