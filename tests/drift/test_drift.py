"""Claims about `drift/drift.py`: each planted drift is told by the right line, and no other is."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from attr_extractor.drift import drift
from attr_extractor.drift.options import Options
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA, draw_photo, require_bad_input, run_tool, write_table
from tests.records.by_hand import build


def rows_of(shop) -> list[dict[str, str]]:
    with open(shop.catalogue, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def held_against(built, tmp_path):
    """Compares rows with the shop's records; photos are the shop's unless told otherwise."""
    count = iter(range(100))

    def compare(rows, image_root: Path | None = None, **options):
        number = next(count)
        table = write_table(tmp_path / f"{number}.csv", rows)
        root = image_root or built.path
        chosen = Options(**options)
        return drift.drift(table, built.records, tmp_path / f"out{number}", root, options=chosen)

    return compare


def told(found) -> dict[str, str]:
    """Verdicts that are not `same`, by what was compared."""
    return {
        " ".join(filter(None, (c["part"], c["subject"], c["what"]))): c["verdict"]
        for c in found["comparisons"]
        if c["verdict"] != "same"
    }


def line_of(found, subject: str, what: str = "") -> str:
    (line,) = (
        c["line"] for c in found["comparisons"] if (c["subject"], c["what"]) == (subject, what)
    )
    return line


def test_the_same_catalogue_has_not_drifted_whatever_the_sample(held_against, built):
    for seed in range(4):
        found = held_against(rows_of(built), seed=seed, sample=60)
        assert told(found) == {} and not drift.drifted(found)
        assert found["sample"] == found["photos_looked_at"] == 60
    assert found["products"] == 120 and found["photos_not_readable"] == 0
    assert 0 < found["sample_trained_on"] <= 60
    assert "training products" in drift.lines(found)[1]


def test_another_mix_of_labels_is_told_with_the_values_that_are_gone(held_against, built):
    rows = rows_of(built)
    for row in rows:
        row.update(color="blue" if row["color"] else "")
    found = held_against(rows, parts=("labels",))
    assert told(found) == {"labels color values": "drifted"}
    line = line_of(found, "color", "values")
    assert "blue" in line and "100.0 %" in line and "gone: red, green" in line
    assert found["photos_looked_at"] == 0  # labels alone need no photo


def test_an_emptied_and_an_absent_column_are_told(held_against, built):
    rows = rows_of(built)
    for row in rows:
        row["closure"] = ""
        del row["color"]
    found = held_against(rows, parts=("labels",))
    assert told(found) == {"labels color filled": "drifted", "labels closure filled": "drifted"}
    assert "the table has no such column" in line_of(found, "color", "filled")
    assert "no such column" not in line_of(found, "closure", "filled")


def test_a_value_that_the_schema_does_not_know_is_named(held_against, built):
    rows = rows_of(built)
    for row in rows[::8]:
        row["closure"] = "Zipp"
    found = held_against(rows, parts=("labels",))
    assert told(found)["labels closure unknown values"] == "drifted"
    line = line_of(found, "closure", "unknown values")
    assert "+12.5 points" in line and "'zipp' in 15 rows, nearest to 'zip'" in line


def test_a_value_that_was_unknown_before_as_well_is_no_drift(schema, tmp_path, built):
    rows = rows_of(built)
    for row in rows[::8]:
        row["closure"] = "hook"
    records = build(tmp_path, rows, schema, image_root=built.path)
    options = Options(parts=("labels",))
    table = tmp_path / "catalogue.csv"
    found = drift.drift(table, records, tmp_path / "out", built.path, options=options)
    assert told(found) == {}
    assert "new:" not in line_of(found, "closure", "unknown values")


@pytest.fixture(scope="module")
def changed(built, tmp_path_factory) -> Path:
    """The shop's photos changed: a folder per change."""
    folder = tmp_path_factory.mktemp("changed")
    changes = {
        "twice": lambda image: image.resize((2 * image.width, 2 * image.height)),
        "grey": lambda image: image.convert("L"),
        "png": lambda image: image,
    }
    for name, change in changes.items():
        (folder / name / "images").mkdir(parents=True)
        for path in (built.path / "images").iterdir():
            with Image.open(path) as image:
                kind = "PNG" if name == "png" else "JPEG"
                change(image).save(folder / name / "images" / path.name, kind)
    return folder


def test_larger_photos_and_another_format_are_told(held_against, built, changed):
    rows = rows_of(built)
    found = told(held_against(rows, changed / "twice", parts=("photos",)))
    assert found["photos Width"] == found["photos Height"] == "drifted"
    assert not {"photos Format", "photos Width over height", "photos Colour"} & set(found)
    of_png = held_against(rows, changed / "png", parts=("photos",))
    assert told(of_png)["photos Format"] == "drifted"
    assert "PNG 0.0 -> 100.0 %" in line_of(of_png, "Format")
    assert not {"photos Width", "photos Height", "photos Colour"} & set(told(of_png))


def test_grey_photos_are_told_by_their_colour(held_against, built, changed):
    found = told(held_against(rows_of(built), changed / "grey", parts=("photos",)))
    assert found["photos Colour"] == "drifted"
    assert not {"photos Format", "photos Width", "photos Height"} & set(found)


def test_photos_that_cannot_be_read_are_told(held_against, built):
    rows = rows_of(built)
    for row in rows[::3]:
        row["image"] = "gone.jpg"
    found = held_against(rows, parts=("photos",))
    assert told(found)["photos Not readable"] == "drifted"
    line = line_of(found, "Not readable")
    assert "+33.3 points" in line and "gone.jpg: image not found" in line
    assert found["photos_not_readable"] == 40


def test_thresholds_decide_what_is_drift_and_what_is_worth_a_look(held_against, built):
    rows = [row for i, row in enumerate(rows_of(built)) if i % 2 or i % 3 == 0]  # fewer shirts
    (compared,) = (
        c
        for c in held_against(rows, parts=("labels",))["comparisons"]
        if (c["subject"], c["what"]) == ("closure", "values")
    )
    excess = compared["size"] - compared["chance"]
    assert excess > 0.02
    for psi, verdict in ((0.9 * excess, "drifted"), (1.5 * excess, "look"), (3 * excess, "same")):
        found = held_against(rows, parts=("labels",), psi=psi, alpha=0.999)
        assert told(found).get("labels closure values", "same") == verdict
    strict = held_against(rows, parts=("labels",), psi=0.9 * excess, alpha=1e-4)
    assert "labels closure values" not in told(strict)


def test_the_same_call_gives_the_same_folder(held_against, built, tmp_path):
    rows = rows_of(built)[:50]
    held_against(rows, sample=20)
    held_against(rows, sample=20)
    for name in ("drift.html", "drift.json"):
        assert (tmp_path / "out0" / name).read_bytes() == (tmp_path / "out1" / name).read_bytes()
    found = json.loads((tmp_path / "out0" / "drift.json").read_text(encoding="utf-8"))
    assert found["schema"] == Manifest.load(built.records).fingerprint


def test_what_sellers_wrote_stays_text_in_the_page(held_against, built, tmp_path):
    rows = rows_of(built)
    for row in rows[::3]:
        row["closure"], row["image"] = "<b>hook</b>", "<i>gone.jpg"
    held_against(rows)
    text = (tmp_path / "out0" / "drift.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;hook" in text and "<b>hook" not in text
    assert "&lt;i&gt;gone" in text and "<i>gone" not in text
    assert "http" not in text and "nan" not in text and "This delivery has drifted." in text


def test_a_schema_with_other_column_names_reads_the_delivery(built, tmp_path):
    rows = [{("Farbe" if k == "color" else k): v for k, v in r.items()} for r in rows_of(built)]
    table = write_table(tmp_path / "t.csv", rows)
    schema = tmp_path / "schema.yaml"
    schema.write_text(SCHEMA + "columns: {color: Farbe}\n", encoding="utf-8")
    options = Options(parts=("labels",))
    found = drift.drift(
        table, built.records, tmp_path / "out", built.path, schema=schema, options=options
    )
    assert told(found) == {}
    schema.write_text(SCHEMA.replace("no neck", "polo neck"), encoding="utf-8")
    with pytest.raises(InputError, match="another schema"):
        drift.drift(table, built.records, tmp_path / "out2", built.path, schema=schema)
    assert not (tmp_path / "out2").exists()


def test_bad_input_is_said_in_one_line(built, tmp_path):
    table = write_table(tmp_path / "t.csv", rows_of(built))
    flags = (f"--catalogue={table}", f"--output_dir={tmp_path / 'out'}")
    records = f"--records={built.records}"
    require_bad_input(run_tool("drift", *flags, f"--records={tmp_path}"), "no manifest.json there")
    require_bad_input(run_tool("drift", *flags, records, "--parts=scores"), "needs the exported")
    require_bad_input(run_tool("drift", *flags, records, "--parts=lables"), "mean 'labels'?")
    require_bad_input(run_tool("drift", *flags, records, "--auc=0.3"), "--auc=0.3: a number above")
    assert not (tmp_path / "out").exists()
    require_bad_input(run_tool("drift", *flags, records), "none could be read; is --image_root")
    empty = tmp_path / "empty.csv"
    empty.write_text(table.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    found = run_tool("drift", f"--catalogue={empty}", flags[1], records)
    require_bad_input(found, "has a header and no rows")
    full = run_tool("drift", flags[0], records, f"--output_dir={built.records}")
    require_bad_input(full, "exists already")


def test_the_exit_code_says_whether_anything_drifted(built, tmp_path):
    rows = rows_of(built)
    flags = (f"--records={built.records}", f"--image_root={built.path}")
    same = write_table(tmp_path / "same.csv", rows)
    found = run_tool("drift", f"--catalogue={same}", *flags, f"--output_dir={tmp_path / 'a'}")
    assert found.returncode == 0, found.stderr
    assert "comparisons 0 drifted" in found.stdout and "a/drift.html" in found.stdout
    jeans = write_table(tmp_path / "jeans.csv", [r for r in rows if r["category"] == "jeans"])
    found = run_tool("drift", f"--catalogue={jeans}", *flags, f"--output_dir={tmp_path / 'b'}")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "drifted: labels: category: values: PSI" in found.stdout
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["drift.html", "drift.json"]


@pytest.fixture(scope="module")
def against_the_model(exported, tmp_path_factory):
    """Compares photos of the shop with its validation photos, by the model."""
    folder = tmp_path_factory.mktemp("by_model")
    held_out = set()
    for split in ("validation", "test"):
        held_out |= products(exported.records, split)
    rows = [row for row in rows_of(exported) if row["product_id"] in held_out]

    def compare(name: str, image_root: Path):
        table = write_table(folder / f"{name}.csv", rows)
        options = Options(parts=("scores", "embedding"))
        output = folder / name
        return drift.drift(
            table, exported.records, output, image_root, exported.model, options=options
        )

    return compare


def products(records: Path, split: str) -> set[str]:
    from tests.records.by_hand import read_split

    return {record["product_id"].decode() for record in read_split(records, split)}


def test_the_models_view_of_the_same_photos_has_not_drifted(against_the_model, exported):
    found = against_the_model("same", exported.path)
    assert told(found) == {}
    assert {c["part"] for c in found["comparisons"]} == {"scores", "embedding"}
    assert len(found["embedding"]["farthest"]) == 12


def test_recoloured_photos_are_told_by_the_embedding(against_the_model, exported, tmp_path):
    (tmp_path / "images").mkdir()
    for path in (exported.path / "images").iterdir():
        draw_photo(tmp_path / "images" / path.name, "jeans", ["black"], "")
    found = against_the_model("recoloured", tmp_path)
    assert told(found)["embedding Separability"] == "drifted"
    assert any(key.startswith("scores color") for key in told(found))


def test_the_model_must_be_that_of_the_records(exported, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(next(exported.model.glob("[0-9]*")), model / "1")
    other = Schema.parse(SCHEMA.replace("no neck", "polo neck"), "test")
    described = model / "1" / "assets" / "model.json"
    content = json.loads(described.read_text(encoding="utf-8"))
    table = write_table(tmp_path / "t.csv", rows_of(exported))
    arguments = (table, exported.records, tmp_path / "out", exported.path, model)
    described.write_text(json.dumps({**content, "photo_short_side": 48}), encoding="utf-8")
    with pytest.raises(InputError, match="short side of 48, the records' have 64"):
        drift.drift(*arguments)
    described.write_text(json.dumps({**content, "fingerprint": other.fingerprint}), "utf-8")
    other.write(model / "1" / "assets" / "schema.yaml")
    with pytest.raises(InputError, match="another schema"):
        drift.drift(*arguments)
    with pytest.raises(InputError, match="not a SavedModel"):
        drift.drift(*arguments[:-1], tmp_path)
    assert not (tmp_path / "out").exists()
