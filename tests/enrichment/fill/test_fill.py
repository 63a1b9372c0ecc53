"""Tests of enrichment/fill/fill.py: kept cells, filled cells, their scores and sources."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from attr_extractor.catalogue import photos
from attr_extractor.enrichment import scoring
from attr_extractor.enrichment.fill import predict
from attr_extractor.errors import InputError
from attr_extractor.schema import Schema

ATTRIBUTES = ["category", "neck_type", "color", "closure"]
IMAGES = ["000_0.jpg", "000_1.jpg", *(f"{i:03d}_0.jpg" for i in range(1, 8))]


@pytest.fixture(scope="module")
def root(exported, tmp_path_factory) -> Path:
    """An image root with some of the shop's photos and three that cannot be read."""
    folder = tmp_path_factory.mktemp("root")
    for name in IMAGES:
        shutil.copyfile(exported.path / "images" / name, folder / name)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"not a photo")
    (folder / "cut.jpg").write_bytes((folder / IMAGES[0]).read_bytes()[:-300])
    return folder


@pytest.fixture(scope="module")
def signature(exported):
    return tf.saved_model.load(str(exported.model / "1")).signatures["scores"]


def row(i: int = 0, image: str = "000_0.jpg", **cells: str) -> dict[str, str]:
    return {"product_id": f"p{i}", "image": image, **dict.fromkeys(ATTRIBUTES, ""), **cells}


def filled(exported, root: Path, folder: Path, rows: list[dict[str, str]], **options):
    """Return the rows of the filled table and its header."""
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    model = options.pop("model", exported.model)
    chosen = predict.PredictOptions(**options)
    predict.predict(model, folder / "table.csv", folder / "out.csv", root, chosen)
    assert not list(folder.glob("out.csv.*"))
    with open(folder / "out.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    with open(folder / "out.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), header


def pooled(signature, root: Path, *names: str) -> np.ndarray:
    """Return the mean scores of photos, float32 [V], each scored separately by the served graph."""
    files = [(root / name).read_bytes() for name in names]
    scores = [signature(image_bytes=tf.constant([file]))["scores"].numpy()[0] for file in files]
    return np.mean(scores, axis=0)


def expected_cell(schema: Schema, name: str, scores: np.ndarray, best: bool = False):
    """Return (cell, confidence, source) of an empty cell that applies, computed independently."""
    attribute, scores = schema[name], scores[schema.slices[name]]
    order = sorted(range(len(scores)), key=lambda v: (-scores[v], v))
    kept = [v for v in order if scores[v] > 0.5]
    kept = kept[:1] if attribute.exclusive else kept
    kept = kept or (order[:1] if best else [])
    if not kept:
        return "", "", "no answer"
    return "|".join(attribute.values[v] for v in kept), f"{scores[kept[-1]]:.4f}", "model"


def cell(row: dict[str, str], name: str) -> tuple[str, str, str]:
    return row[name], row[f"{name}_confidence"], row[f"{name}_source"]


def require_cell(found: tuple[str, str, str], expected: tuple[str, str, str]) -> None:
    assert (found[0], found[2], bool(found[1])) == (expected[0], expected[2], bool(expected[1]))
    if expected[1]:  # a batch of another size may differ in the last bits
        assert float(found[1]) == pytest.approx(float(expected[1]), abs=2e-4)


def test_every_input_column_and_cell_is_kept_in_order(exported, root, tmp_path):
    rows = [
        {
            "note, with comma": 'say "hi",\nand more',
            **row(i, IMAGES[i % len(IMAGES)], category="shirt"),
            "": ["NA", "", " 1 "][i % 3],
            "Größe": "007",
            "_score": "1e5",
        }
        for i in reversed(range(scoring.BATCH + 9))
    ]
    out, header = filled(exported, root, tmp_path, rows)
    added = [f"{name}_{what}" for name in ATTRIBUTES for what in ("confidence", "source")]
    assert header == [*rows[0], *added, "error"]
    empty = set(ATTRIBUTES) - {"category"}
    kept = [column for column in rows[0] if column not in empty]
    assert [[r[c] for c in kept] for r in out] == [[r[c] for c in kept] for r in rows]


def test_a_sellers_cell_is_never_changed(exported, root, tmp_path):
    rows = [
        row(0, category="jeans", neck_type="v-neck"),  # does not apply
        row(1, category="SHIRT", neck_type="V  Neck", color="reddish|blue"),  # synonym, unknown
        row(2, category="shirt|jeans", neck_type="v-neck|no neck", closure=" zip "),
        row(3, category="robe", closure="NA|zip", color="red|red"),
        row(4, category="jeans", closure="drawstring"),  # not allowed there
    ]
    for answer in ("threshold", "best"):
        out, _ = filled(exported, root, tmp_path, rows, answer=answer)
        (tmp_path / "out.csv").unlink()
        for given, found in zip(rows, out):
            for name in ATTRIBUTES:
                if given[name]:
                    assert (found[name], found[f"{name}_source"]) == (given[name], "seller")
                else:
                    assert found[f"{name}_source"] != "seller"


def test_the_confidence_of_a_sellers_value_is_the_models_score(
    exported, root, tmp_path, signature, schema
):
    rows = [row(0, category="shirt", neck_type="V Neck", color="blue|red"), row(1, color="mauve")]
    out, _ = filled(exported, root, tmp_path, rows)
    scores = pooled(signature, root, "000_0.jpg")
    neck, color = (scores[schema.slices[name]] for name in ("neck_type", "color"))
    require_cell(cell(out[0], "neck_type"), ("V Neck", f"{neck[0]:.4f}", "seller"))
    least = min(color[0], color[2])  # the lowest score of several values
    require_cell(cell(out[0], "color"), ("blue|red", f"{least:.4f}", "seller"))
    require_cell(cell(out[1], "color"), ("mauve", "", "seller"))


@pytest.mark.parametrize("answer", ["threshold", "best"])
def test_empty_cells_get_the_models_answer(exported, root, tmp_path, signature, schema, answer):
    rows = [row(i, name, color="NA" if i == 2 else "") for i, name in enumerate(IMAGES)]
    out, _ = filled(exported, root, tmp_path, rows, answer=answer)
    sources = set()
    for given, found in zip(rows, out):
        scores = pooled(signature, root, given["image"])
        for name in ATTRIBUTES:
            expected = expected_cell(schema, name, scores, best=answer == "best")
            if expected[2] == "no answer":
                expected = (given[name], *expected[1:])  # a word that means missing is kept
            require_cell(cell(found, name), expected)
            sources.add(expected[2])
        assert found["error"] == ""
    assert sources == ({"model"} if answer == "best" else {"model", "no answer"})


def test_an_attribute_that_does_not_apply_stays_empty(exported, root, tmp_path):
    rows = [row(0, category="jeans"), row(1, category="NA"), row(2, category="gown")]
    out, _ = filled(exported, root, tmp_path, rows, answer="best")
    assert cell(out[0], "neck_type") == ("", "", "not applicable")
    for found in out[1:]:  # unknown category: every attribute may apply
        assert found["neck_type"] and found["neck_type_source"] == "model"
    others = [found[name] for found in out for name in ATTRIBUTES if name != "neck_type"]
    assert all(others)


def test_photos_of_a_product_are_pooled_by_the_mean(exported, root, tmp_path, signature, schema):
    names = ["001_0.jpg", "002_0.jpg", "004_0.jpg"]
    rows = [row(0, " | ".join(names)), *(row(1 + i, name) for i, name in enumerate(names))]
    out, _ = filled(exported, root, tmp_path, rows, answer="best")
    scores = pooled(signature, root, *names)
    for name in ATTRIBUTES:
        require_cell(cell(out[0], name), expected_cell(schema, name, scores, best=True))
    assert out[0]["category_confidence"] not in [found["category_confidence"] for found in out[1:]]


def test_a_row_without_readable_photos_has_errors_and_no_answer(exported, root, tmp_path):
    images = {
        "empty.jpg": [photos.EMPTY],
        "text.jpg|gone.jpg": [photos.NOT_AN_IMAGE, photos.NOT_FOUND],
        "cut.jpg": [photos.TRUNCATED],
        "../table.csv": [photos.OUTSIDE],
        " | ": ["no image named"],
    }
    rows = [row(i, image, closure="zip") for i, image in enumerate(images)]
    rows.insert(2, row(9, "001_0.jpg", closure="zip"))
    out, _ = filled(exported, root, tmp_path, rows, answer="best")
    assert out.pop(2)["category_source"] == "model"
    for found, (image, reasons) in zip(out, images.items()):
        assert [r for r in reasons if r not in found["error"]] == []
        for path in image.split("|"):
            assert path.strip() in found["error"]
        for name in ("category", "neck_type", "color"):
            assert cell(found, name) == ("", "", "no answer")
        assert cell(found, "closure") == ("zip", "", "seller")


def test_an_unreadable_photo_is_reported_and_the_others_are_used(
    exported, root, tmp_path, signature, schema
):
    out, _ = filled(exported, root, tmp_path, [row(0, "gone.jpg|001_0.jpg|text.jpg")])
    reasons = f"gone.jpg: {photos.NOT_FOUND}; text.jpg: {photos.NOT_AN_IMAGE}"
    assert out[0]["error"] == reasons
    scores = pooled(signature, root, "001_0.jpg")
    require_cell(cell(out[0], "category"), expected_cell(schema, "category", scores))


def test_missing_attribute_columns_are_added(exported, root, tmp_path):
    rows = [{"image": "001_0.jpg", "product_id": "a", "color": "red"}]
    out, header = filled(exported, root, tmp_path, rows, answer="best")
    assert header[:6] == ["image", "product_id", "color", "category", "neck_type", "closure"]
    assert out[0]["category"] in ("shirt", "jeans") and out[0]["color"] == "red"


def renamed_model(exported, folder: Path, columns: dict[str, str]) -> Path:
    """The exported model with other column names in its schema."""
    shutil.copytree(exported.model / "1", folder / "renamed")
    asset = folder / "renamed" / "assets" / "schema.yaml"
    content = yaml.safe_load(asset.read_text(encoding="utf-8"))
    asset.write_text(yaml.safe_dump({**content, "columns": columns}), encoding="utf-8")
    return folder / "renamed"


def test_renamed_columns_keep_their_names_in_the_output(exported, root, tmp_path):
    names = {"product_id": "SKU", "image": "Photo URL", "neck_type": "Neck Style", "color": "Tint"}
    model = renamed_model(exported, tmp_path, names)
    rows = [{"Neck Style": "", "Photo URL": "001_0.jpg", "SKU": "a", "closure": "zip", "size": "M"}]
    out, header = filled(exported, root, tmp_path, rows, model=model, answer="best")
    assert header[:7] == [*rows[0], "category", "Tint"]
    assert out[0]["Neck Style"] and out[0]["Tint"] and out[0]["color_source"] == "model"


def test_a_column_that_clashes_with_an_added_one_raises(exported, root, tmp_path):
    for name in ("error", "color_source", "neck_type_confidence"):
        with pytest.raises(InputError, match=f"table.csv: the column '{name}'"):
            filled(exported, root, tmp_path, [{**row(), name: ""}])
    model = renamed_model(exported, tmp_path, {"neck_type": "color_source"})
    with pytest.raises(InputError, match="the column 'color_source'"):
        filled(exported, root, tmp_path, [{"product_id": "a", "image": "b"}], model=model)
    assert not (tmp_path / "out.csv").exists()


def test_unusable_tables_and_outputs_raise(exported, root, tmp_path):
    with pytest.raises(InputError, match="the column 'image' is missing; did you mean 'images'"):
        filled(exported, root, tmp_path, [{"product_id": "a", "images": "001_0.jpg"}])
    with pytest.raises(InputError, match="the image root is not a folder"):
        filled(exported, tmp_path / "nowhere", tmp_path, [row()])
    table = tmp_path / "table.csv"
    for output in (table, tmp_path):
        with pytest.raises(InputError, match="exists already|name a file"):
            predict.predict(exported.model, table, output, root)
    with pytest.raises(InputError, match="the folder of --output does not exist"):
        predict.predict(exported.model, table, tmp_path / "new" / "out.csv", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv"]


def test_the_summary_counts_rows_and_cells(exported, root, tmp_path):
    rows = [row(0, category="jeans", closure="zip", color="red"), row(1, "gone.jpg")]
    filled(exported, root, tmp_path, rows)
    summary = predict.predict(exported.model, tmp_path / "table.csv", tmp_path / "again.csv", root)
    assert (summary.rows, summary.rows_with_error) == (2, 1)
    assert summary.cells == {"seller": 3, "not applicable": 1, "no answer": 4}


def test_few_photos_are_read_ahead_of_a_slow_model(exported, root, tmp_path, monkeypatch):
    started, behind = [], []
    read, pool = scoring.Reader.read, scoring._pool

    def slow_pool(*arguments):
        time.sleep(0.03)
        behind.append(len(started) - len(behind))
        return pool(*arguments)

    monkeypatch.setattr(scoring, "BATCH", 1)
    monkeypatch.setattr(scoring, "READ_AHEAD", 3)
    monkeypatch.setattr(scoring.Reader, "read", lambda *a: started.append(0) or read(*a))
    monkeypatch.setattr(scoring, "_pool", slow_pool)
    filled(exported, root, tmp_path, [row(i, "001_0.jpg") for i in range(20)])
    assert len(behind) == 20 and max(behind) <= 3 + scoring.SCORED_AT_ONCE
