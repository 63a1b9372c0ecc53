"""Tests of `records/near_duplicates.py`, against a brute-force search and edited photos."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from attr_extractor.errors import InputError
from attr_extractor.records import near_duplicates
from attr_extractor.records.near_duplicates import HASH_BYTES, NearDuplicate

# Search


def bits(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes, axis=1).astype(np.int64)


def by_hand(held_out: np.ndarray, training: np.ndarray, limit: int) -> tuple[list, list]:
    """argmin takes the first of equals."""
    distance = np.abs(bits(held_out)[:, None] - bits(training)[None]).sum(axis=2)  # [M, N]
    best = distance.min(axis=1)
    return (
        np.where(best <= limit, distance.argmin(axis=1), -1).tolist(),
        np.where(best <= limit, best, -1).tolist(),
    )


def flip(generator: np.random.Generator, hashes: np.ndarray, most: float) -> np.ndarray:
    """Copies with a share of their bits turned over, from none in the first to `most`."""
    shares = np.linspace(0, most, len(hashes))[:, None]
    turned = generator.random([len(hashes), 8 * hashes.shape[1]]) < shares
    return hashes ^ np.packbits(turned, axis=1)


@pytest.mark.parametrize("limit", [0, 5, 14, 256])
def test_the_nearest_equals_a_search_by_hand(limit: int):
    generator = np.random.default_rng(0)
    training = generator.integers(0, 256, [700, HASH_BYTES], np.uint8)
    held_out = flip(generator, training[generator.integers(0, 700, 250)], 0.3)
    nearest, distance = near_duplicates.find(held_out, training, limit)
    assert (nearest.dtype, distance.dtype) == (np.int64, np.int64)
    expected = by_hand(held_out, training, limit)
    assert (nearest.tolist(), distance.tolist()) == expected
    assert (-1 in expected[0]) == (limit < 256)
    assert {0, limit} <= {*expected[1], 256}


def test_ties_go_to_the_first_photo():
    generator = np.random.default_rng(1)
    five = np.repeat(generator.integers(0, 256, [5, HASH_BYTES], np.uint8), 100, axis=0)
    equal = five[generator.permutation(500)]  # the same hash a hundred times
    crowded = generator.integers(0, 256, [900, 1], np.uint8)  # other hashes, equally far away
    for training in (equal, crowded):
        held_out = flip(generator, training[generator.integers(0, len(training), 300)], 0.2)
        nearest, distance = near_duplicates.find(held_out, training, 256)
        assert (nearest.tolist(), distance.tolist()) == by_hand(held_out, training, 256)


def test_blocks_do_not_change_the_result(monkeypatch):
    generator = np.random.default_rng(2)
    training = generator.integers(0, 2, [3000, HASH_BYTES], np.uint8)
    held_out = generator.integers(0, 2, [500, HASH_BYTES], np.uint8)
    whole = near_duplicates.find(held_out, training)
    monkeypatch.setattr(near_duplicates, "QUERIES_PER_BLOCK", 7)
    np.testing.assert_array_equal(near_duplicates.find(held_out, training), whole)


@pytest.mark.parametrize("held_out, training", [(0, 3), (3, 0), (0, 0)])
def test_a_side_without_photos_has_no_near_duplicates(held_out, training):
    sides = [np.zeros([count, HASH_BYTES], np.uint8) for count in (held_out, training)]
    nearest, distance = near_duplicates.find(*sides)
    assert nearest.tolist() == distance.tolist() == [-1] * held_out


# What counts as a near duplicate


def hash_of(image: Image.Image) -> np.ndarray:
    return np.frombuffer(near_duplicates.perceptual_hash(image), np.uint8)


def test_the_hash_is_the_librarys_most_significant_bit_first():
    blocks = np.random.default_rng(0).integers(0, 256, [20, 15, 3], np.uint8)
    for size, most in {(64, 64): 0, (192, 256): 4}.items():
        image = Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)
        expected = str(imagehash.phash(image, hash_size=near_duplicates.HASH_SIDE))  # row by row
        found = near_duplicates.perceptual_hash(image)
        assert bin(int(found.hex(), 16) ^ int(expected, 16)).count("1") <= most


def saved(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


def test_an_edited_photo_is_a_near_duplicate_and_another_product_is_not(real_data):
    paths = sorted((real_data / "worn_clothes_cc0" / "images").iterdir())[:12]
    photos = [Image.open(path).convert("RGB") for path in paths]
    training = np.stack([hash_of(photo) for photo in photos])
    assert training.shape == (12, HASH_BYTES)
    edits = {
        "saved again": lambda photo: saved(photo, 50),
        "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
        "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.05),
    }
    for edit in edits.values():
        held_out = np.stack([hash_of(edit(photo)) for photo in photos])
        assert near_duplicates.find(held_out, training)[0].tolist() == list(range(12))
    others = near_duplicates.find(training[:6], training[6:])[0]
    assert others.tolist() == [-1] * 6


@pytest.mark.parametrize(
    "catalogue, first, second, similar",
    [
        ("clothing_attributes", "p00386", "p01068", True),  # one photo, a little darker
        ("clothing_attributes", "p00128", "p00863", True),  # one photo, much darker
        ("fashion_products", "p00803", "p03302", True),  # one print on a white and a pink shirt
        ("fashion_products", "p05946", "p06106", False),  # two shoes in the same pose
        ("fashion_products", "p01713", "p06237", False),  # a striped and a plain tie
    ],
)
def test_real_pairs_are_classified_as_by_a_person(
    real_data, catalogue: str, first: str, second: str, similar: bool
):
    folder = real_data / catalogue / "images"
    photos = [Image.open(folder / f"{name}.jpg").convert("RGB") for name in (first, second)]
    held_out, training = (hash_of(photo)[None] for photo in photos)
    assert (near_duplicates.find(held_out, training)[0][0] == 0) == similar


# The file

ROWS = [
    NearDuplicate("validation", "p2", 0, "a/ü.jpg", 4, "p7", "b,c.jpg"),
    NearDuplicate("test", 'p"1', 10, "x.jpg", 0, "new\nline", "carriage\rreturn"),
    NearDuplicate("test", 'p"1', 2, "x.jpg", 14, "", "  spaces "),
    NearDuplicate("test", "007", 0, "x.jpg", 2, "1e3", "-1"),
]


def test_the_file_is_read_back_sorted(tmp_path: Path):
    near_duplicates.write(tmp_path, ROWS)
    assert near_duplicates.read(tmp_path) == [ROWS[3], ROWS[2], ROWS[1], ROWS[0]]
    assert [path.name for path in tmp_path.iterdir()] == ["near_duplicates.csv"]


def test_the_file_is_a_table_that_pandas_reads(tmp_path: Path):
    near_duplicates.write(tmp_path, ROWS)
    table = pd.read_csv(tmp_path / "near_duplicates.csv", dtype=str, keep_default_na=False)
    assert ",".join(table.columns) == (
        "split,product_id,image_index,image,distance,similar_product_id,similar_image"
    )
    assert table.values.tolist() == [[str(cell) for cell in row] for row in sorted(ROWS)]


def test_an_empty_list_differs_from_a_missing_file(tmp_path: Path):
    assert near_duplicates.read(tmp_path) is None
    near_duplicates.write(tmp_path, [])
    assert near_duplicates.read(tmp_path) == []


HEADER = ",".join(NearDuplicate._fields)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "line 0: its columns are not split,product_id"),
        (b"split,product_id\n", "line 1: its columns are not split,product_id,image_index"),
        (f"{HEADER}\ntest,p,0,x.jpg,2,q,y.jpg\ntest,p,0\n".encode(), "line 3: "),
        (f"{HEADER}\ntest,p,first,x.jpg,2,q,y.jpg\n".encode(), "line 2: .*'first'"),
        (f"{HEADER}\ntest,p,0,x.jpg,2,q,y.jpg,more\n".encode(), "line 2: "),
        (f"{HEADER}\ntest,\xff,0,x.jpg,2,q,y.jpg\n".encode("latin-1"), "utf-8"),
        pytest.param(
            f"{HEADER}\ntest,{'p' * 2_000_000},0,x.jpg,2,q,y.jpg\n".encode(),
            "field larger",
            id="a giant cell",
        ),
    ],
)
def test_another_file_is_bad_input(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "near_duplicates.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"near_duplicates.csv: .*{words}.*; build the records"):
        near_duplicates.read(tmp_path)
