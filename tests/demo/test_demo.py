"""The demo catalogue: the same bytes each time, every value drawn and visible, every kind of noise
that the table claims to hold.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from attr_extractor.demo import noise
from attr_extractor.demo.catalogue import write_demo_catalogue
from attr_extractor.demo.photo import DRAWN_VALUES, draw_photo
from attr_extractor.demo.products import Product, allowed_values, draw_product
from attr_extractor.demo.scene import Scene
from attr_extractor.demo.surface import Look
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema
from tests.conftest import files_of_at_most

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA_PATH = REPOSITORY / "configs" / "schemas" / "demo.yaml"


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.read(SCHEMA_PATH)


@pytest.fixture(scope="module")
def products(schema: Schema) -> list[Product]:
    return [draw_product(schema, seed=0, index=i) for i in range(600)]


@pytest.fixture(scope="module")
def cells(schema: Schema, products: list[Product]) -> list[dict[str, str]]:
    rng = np.random.default_rng(5)
    return [noise.seller_cells(schema, product, rng) for product in products]


@pytest.fixture(scope="module")
def catalogue(schema: Schema, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo_catalogue(folder, num_products=190, seed=3, schema=schema)
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _still_scene() -> Scene:
    """Upright, centred, worn by a mannequin in a studio: only the product can change the photo."""
    scene = Scene.random(np.random.default_rng(0))
    return dataclasses.replace(
        scene, size=(256, 320), background="studio", angle=0.0, scale=1.0, shift=(0.0, 0.0),
        presence=0.6,
    )  # fmt: skip


def _plain(schema: Schema, category: str) -> dict[str, tuple[str, ...]]:
    values = {a.name: tuple(allowed_values(a, category)[:1]) for a in schema.attributes}
    return {**values, "category": (category,), "color": ("blue", "white")}


def test_same_seed_gives_the_same_bytes(schema: Schema, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_demo_catalogue(tmp_path / name, num_products=20, seed=seed, schema=schema)
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    assert _digests(tmp_path / "a") != _digests(tmp_path / "c")


def test_a_product_does_not_depend_on_the_number_of_products(
    schema: Schema, catalogue: Path, tmp_path: Path
) -> None:
    write_demo_catalogue(tmp_path, num_products=7, seed=3, schema=schema, num_workers=1)
    few, many = _digests(tmp_path), _digests(catalogue)
    photos = [name for name in few if name.startswith("images")]
    assert len(photos) >= 7
    assert {name: many[name] for name in photos} == {name: few[name] for name in photos}
    for table in ("catalogue.csv", "truth.csv"):
        assert _rows(catalogue / table)[:7] == _rows(tmp_path / table)


def test_every_value_of_the_schema_occurs(schema: Schema, products: list[Product]) -> None:
    for attribute in schema.attributes:
        seen = {value for product in products for value in product.values[attribute.name]}
        assert seen == set(attribute.values), attribute.name


def test_true_values_are_valid_under_the_schema(schema: Schema, products: list[Product]) -> None:
    allowed = schema.allowed
    for product in products:
        category = schema["category"].values.index(product.values["category"][0])
        for attribute in schema.attributes:
            may = allowed[category, schema.slices[attribute.name]]
            values = product.values[attribute.name]
            assert bool(values) == bool(may.any()), (product, attribute.name)
            assert all(may[attribute.values.index(value)] for value in values)
            assert len(values) <= (1 if attribute.exclusive else 2)


def test_no_value_dominates_its_attribute(schema: Schema, products: list[Product]) -> None:
    for attribute in schema.attributes:
        filled = [p.values[attribute.name][0] for p in products if p.values[attribute.name]]
        share = max(filled.count(value) for value in attribute.values) / len(filled)
        assert share < 0.62, (attribute.name, share)


def test_every_value_of_the_schema_has_a_drawing(schema: Schema) -> None:
    drawn = {name: set(values) for name, values in DRAWN_VALUES.items()}
    assert drawn == {attribute.name: set(attribute.values) for attribute in schema.attributes}


def test_a_value_without_a_drawing_raises(schema: Schema, tmp_path: Path) -> None:
    text = schema.to_yaml().replace("- stiletto", "- kitten heel")
    other = Schema.parse(text, "a test")
    with pytest.raises(InputError, match="cannot draw heel_type = 'kitten heel'"):
        write_demo_catalogue(tmp_path, num_products=1, schema=other)


def test_a_full_disk_raises_one_line(schema: Schema, tmp_path: Path) -> None:
    with (
        files_of_at_most(100),
        pytest.raises(InputError, match="cannot be written: File too large"),
    ):
        write_demo_catalogue(tmp_path, 1, schema=schema, num_workers=1)


@pytest.mark.parametrize("category", DRAWN_VALUES["category"])
def test_each_value_changes_the_photo(schema: Schema, category: str) -> None:
    """The change is visible at 80 pixels, for all values of all attributes that apply."""
    scene, look = _still_scene(), Look()
    base = {**_plain(schema, category), "border": ("no border",)}
    for attribute in schema.attributes:
        if attribute.name == "category":
            continue
        photos = [
            np.asarray(
                draw_photo({**base, attribute.name: (value,)}, look, scene).resize((80, 80)),
                np.float32,
            )
            for value in allowed_values(attribute, category)
        ]
        for i, first in enumerate(photos):
            for second in photos[i + 1 :]:
                changed = (np.abs(first - second).max(axis=-1) > 20).sum()
                assert changed >= 20, (attribute.name, int(changed))


def test_the_neckline_changes_only_the_neck(schema: Schema) -> None:
    scene, values = _still_scene(), _plain(schema, "t-shirt")
    round_neck, v_neck = (
        np.asarray(draw_photo({**values, "neck_type": (neck,)}, Look(), scene), np.int32)
        for neck in ("round neck", "v-neck")
    )
    rows, columns = np.nonzero(np.abs(round_neck - v_neck).max(axis=-1) > 24)
    assert len(rows) > 200
    # The frame of a top spans y = -15 .. 59; its v-neck ends at y = 18 and is 14 wide.
    assert rows.min() > 320 * 10 / 80 and rows.max() < 320 * 40 / 80
    assert np.abs(columns - 128).max() < 128 * 10 / 34


def test_the_table_has_the_stated_share_of_empty_cells(
    schema: Schema, products: list[Product], cells: list[dict[str, str]]
) -> None:
    apply = [
        row[name] == ""
        for product, row in zip(products, cells)
        for name in schema.names
        if product.values[name] and name != schema.category
    ]
    assert np.mean(apply) == pytest.approx(noise.EMPTY_CELLS, abs=0.02)


def test_each_kind_of_noise_is_in_the_table(
    schema: Schema, products: list[Product], cells: list[dict[str, str]]
) -> None:
    count = dict.fromkeys(
        ("category", "named missing", "not applicable", "two values", "unknown", "synonym", "case"),
        0,
    )
    for product, row in zip(products, cells):
        count["category"] += row["category"] == ""
        for attribute in schema.attributes:
            cell, true = row[attribute.name], product.values[attribute.name]
            if not cell:
                continue
            if schema.is_missing(cell):
                count["named missing"] += 1
            elif not true:
                count["not applicable"] += 1
            elif attribute.exclusive and "|" in cell:
                count["two values"] += 1
            else:
                first = cell.split("|")[0]
                at = attribute.value_of(first)
                count["unknown"] += at is None
                if at is not None:
                    assert attribute.values[at] == true[0]
                    count["case"] += first != first.lower()
                    count["synonym"] += first in attribute.synonyms
    assert all(count.values()), count
    for kind, share in (
        ("not applicable", noise.FILLED_WHERE_NOT_APPLICABLE),
        ("two values", noise.TWO_EXCLUSIVE_VALUES),
    ):
        assert 0 < count[kind] < 3 * share * len(products), count
    assert 20 < count["unknown"] < 90, count  # 1 % of some 4,700 filled cells


def test_all_photos_open_except_the_broken_ones(catalogue: Path) -> None:
    for index, row in enumerate(_rows(catalogue / "catalogue.csv")):
        for which, name in enumerate(row["image"].split("|")):
            how = noise.broken_photo(index) if which == 0 else None
            path = catalogue / name
            if how == "no file":
                assert not path.exists()
            elif how in ("truncated JPEG", "empty file", "text file"):
                with pytest.raises((OSError, UnidentifiedImageError)):
                    Image.open(path).load()
            else:
                with Image.open(path) as image:
                    assert image.format == ("PNG" if how else "JPEG")
                    assert min(image.size) >= 240 and max(image.size) <= 320
                    assert np.asarray(image.convert("RGB")).std() > 10


def test_each_kind_of_broken_file_occurs_and_some_products_have_two_photos(
    catalogue: Path,
) -> None:
    rows = _rows(catalogue / "catalogue.csv")
    assert {noise.broken_photo(i) for i in range(len(rows))} >= set(noise.BROKEN_PHOTOS.values())
    doubles = [row["image"].split("|") for row in rows if "|" in row["image"]]
    assert 0.04 < len(doubles) / len(rows) < 0.2
    first, second = (Image.open(catalogue / name).convert("L") for name in doubles[0])
    assert first.size != second.size or np.asarray(first).tolist() != np.asarray(second).tolist()


def _run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/make_demo_catalogue.py", *arguments],
        cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_program_writes_table_photos_truth_and_schema(schema: Schema, tmp_path: Path) -> None:
    output = tmp_path / "new" / "demo"
    done = _run_tool(f"--output_dir={output}", "--num_products=3", "--seed=1")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in output.iterdir()} == {
        "catalogue.csv", "truth.csv", "images", "schema.yaml",
    }  # fmt: skip
    assert Schema.read(output / "schema.yaml").fingerprint == schema.fingerprint


@pytest.mark.parametrize("fault", ["not empty", "a file", "no products"])
def test_the_program_reports_bad_input_in_one_line(tmp_path: Path, fault: str) -> None:
    target = tmp_path / "x"
    if fault == "a file":
        target.write_text("mine", encoding="utf-8")
    elif fault == "not empty":
        target.mkdir()
        (target / "mine.txt").write_text("mine", encoding="utf-8")
    done = _run_tool(
        f"--output_dir={target}", f"--num_products={0 if fault == 'no products' else 2}"
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
