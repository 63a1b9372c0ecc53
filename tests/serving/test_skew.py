"""Test `serving/skew.py`: a filled table and the served graph answer alike, file by file."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from attr_extractor.catalogue import photos
from attr_extractor.records import pixels
from attr_extractor.serving import model_dir, skew
from attr_extractor.serving.raw_photos.batch import PhotoReader
from tests.catalogue.test_damaged_photos import damaged, files_of_every_kind
from tests.catalogue.test_odd_photos import ODD

SHORT_SIDE, SIZE = 40, 32


def phone_photo(seed: int, width: int, height: int, **options) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, [9, 7, 3], np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1 + seed % 8
    out = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(out, "JPEG", exif=exif, **options)
    return out.getvalue()


def test_photos_of_12_megapixels_are_answered_alike(exported):
    files = [phone_photo(i, 4032, 3024, quality=85, progressive=i % 2 == 1) for i in range(8)]
    found = skew.measure(model_dir.load(exported.model), files)
    assert (found.photos, found.one_sided, found.equal_cells) == (8, 0, 1.0)
    assert found.largest < 1e-4 and found.is_small


@pytest.mark.parametrize("folder", ["worn_clothes_cc0", "clothing_attributes"])
def test_real_photos_are_answered_alike(exported, real_data, folder):
    paths = sorted((real_data / folder / "images").rglob("*.jpg"))[::8]
    model = model_dir.load(exported.model)
    found = skew.measure(model, [path.read_bytes() for path in paths])
    assert found.photos == len(paths) > 90
    assert found.equal_cells >= 0.998 and found.difference <= 0.01


def test_other_answers_and_files_that_one_way_reads_are_counted(exported):
    model = model_dir.load(exported.model)
    files = [phone_photo(i, 80, 60) for i in range(4)]
    out = io.BytesIO()
    Image.new("RGB", (80, 60)).save(out, "TIFF")

    def disturbed(image_bytes):
        outputs = model.signatures["scores"](image_bytes=image_bytes)
        scores = outputs["scores"].numpy()
        scores[1] = 1 - scores[1]  # of a photo: the answers of its 4 cells
        return {**outputs, "scores": tf.constant(scores)}

    of_table = model.of_stored()
    other = SimpleNamespace(
        facts=model.facts,
        schema=model.schema,
        answers=model.answers,
        signatures={"scores": disturbed},
        of_stored=lambda: of_table,
    )
    found = skew.measure(other, [*files, out.getvalue()])
    stored = photos.store(files[1], model.facts.photo_short_side).encoded
    scores = of_table(tf.constant([stored]))[0].numpy()[0]
    before, after = (model.answers.chosen(s[np.newaxis]).numpy()[0] for s in (scores, 1 - scores))
    changed = [(before[w] != after[w]).any() for w in model.schema.slices.values()]
    assert any(changed) and found.equal_cells == pytest.approx(1 - sum(changed) / 16)
    assert found.largest == pytest.approx(np.abs(1 - 2 * scores).max(), abs=1e-5)
    assert (found.photos, found.one_sided, found.is_small) == (4, 1, False)


def test_every_odd_file_among_good_ones_has_its_own_error():
    good = [phone_photo(i, 70, 90) for i in range(32)]
    odd = [case.values[0] for case in ODD]
    read = tf.function(PhotoReader(SHORT_SIDE, SIZE, "squeeze").read, autograph=False)
    expected = read(tf.constant(good), tf.zeros([32, 4], tf.int32))[0].numpy()
    for start in range(0, len(odd), 32):
        part = odd[start : start + 32]
        mixed = [file for pair in zip(good, part) for file in pair]  # at most 64 rows
        found, errors = read(tf.constant(mixed), tf.zeros([len(mixed), 4], tf.int32))
        np.testing.assert_array_equal(found[::2], expected[: len(part)])
        assert set(errors.numpy()[::2]) == {b""}
        assert not found.numpy()[1::2].any()
        assert all(0 < len(error) < 100 and b"\n" not in error for error in errors.numpy()[1::2])


@pytest.mark.filterwarnings("ignore:::PIL")
def test_damaged_files_are_refused_or_read_as_a_tables_photo():
    draw = random.Random(0)
    kinds = files_of_every_kind()
    files = [damaged(draw.choice(kinds), draw) for _ in range(640)]
    read = tf.function(PhotoReader(SHORT_SIDE, SIZE, "squeeze").read, autograph=False)
    compared = 0
    for start in range(0, len(files), 64):
        part = files[start : start + 64]
        found, errors = read(tf.constant(part), tf.zeros([64, 4], tf.int32))
        for file, photo, error in zip(part, found.numpy(), errors.numpy()):
            try:
                stored = photos.store(file, SHORT_SIDE)
            except photos.PhotoError:
                continue
            if not error:
                expected = pixels.from_stored(stored.encoded, SIZE, "squeeze").numpy()
                # CMYK may differ by a level before it is compressed
                limit = 10 if file[:4] == b"\xff\xd8\xff\xee" else 0
                assert np.abs(photo.astype(int) - expected).max() <= limit
                compared += 1
    assert compared > 30
