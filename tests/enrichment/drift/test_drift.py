"""Test drift/drift.py: each planted drift is reported, and nothing else is."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from attr_extractor import made_from
from attr_extractor.enrichment.drift import drift
from attr_extractor.enrichment.drift.compare import AUC, PSI, SHARE, Comparison, judge
from attr_extractor.enrichment.drift.drift import DriftOptions
from attr_extractor.enrichment.drift.report import DriftReport, line_of
from attr_extractor.errors import InputError
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.rows import ISSUES
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA, draw_photo, require_bad_input, run_tool, write_table
from tests.enrichment.drift.conftest import drawn_rows
from tests.records.by_hand import build, read_split


def rows_of(shop) -> list[dict[str, str]]:
    with open(shop.catalogue, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def held_against(built, tmp_path):
    """Compare rows with the shop's records; photos are the shop's by default."""
    count = iter(range(100))

    def compare(rows, image_root: Path | None = None, **options):
        number = next(count)
        table = write_table(tmp_path / f"{number}.csv", rows)
        root = image_root or built.path
        chosen = DriftOptions(**options)
        return drift.drift(table, built.records, tmp_path / f"out{number}", root, options=chosen)

    return compare


def alarms(report: DriftReport) -> dict[str, str]:
    """Return the verdicts that are not `same`, by comparison."""
    return {
        " ".join(filter(None, (c.aspect, c.subject, c.measure))): c.verdict
        for c in report.comparisons
        if c.verdict != "same"
    }


def line(report: DriftReport, subject: str, measure: str = "") -> str:
    (c,) = (c for c in report.comparisons if (c.subject, c.measure) == (subject, measure))
    return line_of(c)


def test_a_delivery_like_the_records_has_not_drifted(drawn, tmp_path):
    """The thresholds are near 0, so significance alone decides."""
    options, count = DriftOptions(psi=1e-6, share=1e-6, sample=100), 0
    for seed in range(1, 7):
        rows = drawn_rows(tmp_path / str(seed), 150, seed)
        table = write_table(tmp_path / str(seed) / "t.csv", rows)
        report = drift.drift(table, drawn, tmp_path / f"out{seed}", options=options)
        assert report.sample == report.photos_inspected == 100
        count += bool(alarms(report))
    assert count <= 1  # of six at 0.05 more than one in thirty times


def test_training_products_in_the_sample_are_counted(held_against, built):
    report = held_against(rows_of(built), sample=60)
    assert 0 < report.sample_trained_on < 60
    assert f"{report.sample_trained_on} of 60 sampled products" in report.lines()[1]


def test_changed_label_shares_are_reported_with_the_absent_values(held_against, built):
    rows = rows_of(built)
    for row in rows:
        row.update(color="blue" if row["color"] else "")
    report = held_against(rows, aspects=("labels",))
    assert alarms(report) == {"labels color values": "drifted"}
    text = line(report, "color", "values")
    assert "blue" in text and "100.0 %" in text and "absent from the delivery: red, green" in text
    assert report.photos_inspected == 0  # labels alone need no photo


def test_an_emptied_and_an_absent_column_are_reported(held_against, built):
    rows = rows_of(built)
    for row in rows:
        row["closure"] = ""
        del row["color"]
    report = held_against(rows, aspects=("labels",))
    assert alarms(report) == {"labels color filled": "drifted", "labels closure filled": "drifted"}
    assert "the table has no such column" in line(report, "color", "filled")
    assert "no such column" not in line(report, "closure", "filled")


def test_new_unknown_values_are_reported(held_against, built):
    rows = rows_of(built)
    for row in rows[::8]:
        row["closure"] = "Zipp"
    report = held_against(rows, aspects=("labels",))
    assert alarms(report)["labels closure unknown values"] == "drifted"
    text = line(report, "closure", "unknown values")
    assert "+12.5 points" in text and "'zipp' in 15 rows, nearest to 'zip'" in text


def test_a_value_that_the_records_lack_as_well_is_no_drift(schema, tmp_path, built):
    rows = rows_of(built)
    for row in rows[::8]:
        row["closure"] = "hook"
    records = build(tmp_path, rows, schema, image_root=built.path)
    options = DriftOptions(aspects=("labels",))
    table = tmp_path / "catalogue.csv"
    report = drift.drift(table, records, tmp_path / "out", built.path, options=options)
    assert alarms(report) == {}
    assert "new:" not in line(report, "closure", "unknown values")


@pytest.fixture(scope="module")
def changed(built, tmp_path_factory) -> Path:
    """Changed photos of the shop, in a folder per change."""
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


def test_larger_photos_and_another_format_are_reported(held_against, built, changed):
    rows = rows_of(built)
    verdicts = alarms(held_against(rows, changed / "twice", aspects=("photos",)))
    assert verdicts["photos Width"] == verdicts["photos Height"] == "drifted"
    assert not {"photos Format", "photos Width over height", "photos Colour"} & set(verdicts)
    of_png = held_against(rows, changed / "png", aspects=("photos",))
    assert alarms(of_png)["photos Format"] == "drifted"
    assert "PNG 0.0 -> 100.0 %" in line(of_png, "Format")
    assert not {"photos Width", "photos Height", "photos Colour"} & set(alarms(of_png))


def test_grey_photos_are_reported_as_colour(held_against, built, changed):
    verdicts = alarms(held_against(rows_of(built), changed / "grey", aspects=("photos",)))
    assert verdicts["photos Colour"] == "drifted"
    assert not {"photos Format", "photos Width", "photos Height"} & set(verdicts)


def test_unreadable_photos_are_reported(held_against, built):
    rows = rows_of(built)
    for row in rows[::3]:
        row["image"] = "gone.jpg"
    report = held_against(rows, aspects=("photos",))
    assert alarms(report)["photos Not readable"] == "drifted"
    text = line(report, "Not readable")
    assert "+33.3 points" in text and "gone.jpg: image not found" in text
    assert report.photos_unreadable == 40


def test_drift_is_both_large_and_significant():
    def judged(kind: str, size: float, chance: float, p: float, others: int = 0) -> str:
        compared = [
            Comparison("labels", "Color", "values", *one, (100, 50))
            for one in [(kind, size, chance, p), *[(PSI, 0.0, 0.0, 1.0)] * others]
        ]
        options = DriftOptions()
        return judge(compared, options.limits, options.alpha)[0].verdict

    assert judged(PSI, 0.35, 0.1, 1e-4) == "drifted"  # 0.25 beyond chance, 0.2 is the limit
    assert judged(PSI, 0.25, 0.1, 1e-4) == "look"
    assert judged(PSI, 0.25, 0.2, 1e-4) == "same"
    assert judged(PSI, 0.90, 0.1, 0.02) == "drifted"
    assert judged(PSI, 0.90, 0.1, 0.02, others=2) == "same"  # 3 * 0.02 is above 0.05
    assert judged(PSI, 0.90, 0.1, 0.06) == "same"
    verdicts = [judged(SHARE, size, 0.0, 1e-4) for size in (0.02, 0.01, 0.009, -0.5)]
    assert verdicts == ["drifted", "look", "same", "same"]
    assert [judged(AUC, a, 0.5, 1e-4) for a in (0.71, 0.61, 0.59)] == ["drifted", "look", "same"]


def test_a_higher_threshold_silences_a_drift(held_against, built):
    rows = rows_of(built)
    for row in rows[:100]:
        row.update(color="blue" if row["color"] else "")
    plain = held_against(rows, aspects=("labels",))
    assert alarms(plain) == {"labels color values": "drifted"}
    assert alarms(held_against(rows, aspects=("labels",), psi=9.0)) == {}


def test_unusable_rows_are_reported_with_the_reason(held_against, built):
    rows = rows_of(built)
    for row in rows[::10]:
        row["image"] = ""
    report = held_against(rows, aspects=("labels",))
    assert alarms(report) == {"labels Rows not usable": "drifted"}
    assert "+10.0 points" in line(report, "Rows", "not usable")
    assert "12 rows: no image named" in line(report, "Rows", "not usable")


def test_the_same_call_writes_the_same_bytes(held_against, built, tmp_path):
    rows = rows_of(built)[:50]
    held_against(rows, sample=20)
    held_against(rows, sample=20)
    for name in ("drift.html", "drift.json"):
        assert (tmp_path / "out0" / name).read_bytes() == (tmp_path / "out1" / name).read_bytes()
    report = json.loads((tmp_path / "out0" / "drift.json").read_text(encoding="utf-8"))
    assert report["schema"] == Manifest.load(built.records).fingerprint


def test_the_page_escapes_sellers_text(held_against, built, tmp_path):
    rows = rows_of(built)
    for row in rows[::3]:
        row["closure"], row["image"] = "<b>hook</b>", "<i>gone.jpg"
    held_against(rows)
    text = (tmp_path / "out0" / "drift.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;hook" in text and "<b>hook" not in text
    assert "&lt;i&gt;gone" in text and "<i>gone" not in text
    assert "http" not in text and "nan" not in text and "This delivery has drifted." in text


def test_a_schema_with_other_column_names_is_accepted(built, tmp_path):
    rows = [{("Farbe" if k == "color" else k): v for k, v in r.items()} for r in rows_of(built)]
    table = write_table(tmp_path / "t.csv", rows)
    schema = tmp_path / "schema.yaml"
    schema.write_text(SCHEMA + "columns: {color: Farbe}\n", encoding="utf-8")
    options = DriftOptions(aspects=("labels",))
    report = drift.drift(
        table, built.records, tmp_path / "out", built.path, schema=schema, options=options
    )
    assert alarms(report) == {}
    schema.write_text(SCHEMA.replace("no neck", "polo neck"), encoding="utf-8")
    with pytest.raises(InputError, match="another schema"):
        drift.drift(table, built.records, tmp_path / "out2", built.path, schema=schema)
    assert not (tmp_path / "out2").exists()


def test_invalid_arguments_are_named_and_nothing_is_written(built, tmp_path):
    table, out = write_table(tmp_path / "t.csv", rows_of(built)), tmp_path / "out"
    with pytest.raises(InputError, match="no manifest.json found"):
        drift.drift(table, tmp_path, out)
    with pytest.raises(InputError, match="--parts=scores: requires an exported model"):
        drift.drift(table, built.records, out, options=DriftOptions(aspects=("scores",)))
    with pytest.raises(InputError, match="there is no split 'tests'; did you mean 'test'"):
        drift.drift(table, built.records, out, options=DriftOptions(split="tests"))
    for wrong, words in (
        ({"aspects": ("lables",)}, "did you mean 'labels'"),
        ({"auc": 0.3}, "--auc=0.3: must be above 0.5"),
        ({"psi": float("nan")}, "--psi=nan"),
        ({"sample": 0}, "--sample=0"),
    ):
        with pytest.raises(InputError, match=words):
            DriftOptions(**wrong)
    assert not out.exists()
    with pytest.raises(InputError, match="exists already"):
        drift.drift(table, built.records, built.records, built.path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row,product_id\n", "line 1: its columns are not row,product_id,attribute"),
        ("{header}\n1,p\n", "line 2: "),
        (
            "{header}\n1,p,no_such,x,unknown value,\n",
            "line 2: 'no_such' is not an attribute",
        ),
        ('{header}\n1,p,"x', "line 2: "),
    ],
)
def test_damaged_label_issues_are_one_line(built, tmp_path, text, words):
    shutil.copytree(built.records, tmp_path / "records")
    content = text.format(header=",".join(ISSUES))
    (tmp_path / "records" / "label_issues.csv").write_text(content, encoding="utf-8")
    table = write_table(tmp_path / "t.csv", rows_of(built))
    options = DriftOptions(aspects=("labels",))
    with pytest.raises(InputError, match=f"label_issues.csv: {re.escape(words)}.*build the rec"):
        drift.drift(table, tmp_path / "records", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(built, tmp_path):
    table = write_table(tmp_path / "t.csv", rows_of(built))
    flags = (f"--records={built.records}", f"--output_dir={tmp_path / 'out'}")
    result = run_tool("drift", f"--catalogue={table}", *flags)  # photos are elsewhere
    require_bad_input(result, "none of 120 photos could be read; check --image_root")
    empty = tmp_path / "empty.csv"
    empty.write_text(table.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    with pytest.raises(InputError, match="a header and no rows"):
        drift.drift(empty, built.records, tmp_path / "out")


def test_the_exit_code_is_1_if_anything_drifted(built, tmp_path):
    rows = rows_of(built)
    flags = (f"--records={built.records}", "--parts=labels")
    same = write_table(tmp_path / "same.csv", rows)
    result = run_tool("drift", f"--catalogue={same}", *flags, f"--output_dir={tmp_path / 'a'}")
    assert result.returncode == 0, result.stderr
    assert "comparisons, 0 drifted" in result.stdout and "a/drift.html" in result.stdout
    jeans = write_table(tmp_path / "jeans.csv", [r for r in rows if r["category"] == "jeans"])
    result = run_tool("drift", f"--catalogue={jeans}", *flags, f"--output_dir={tmp_path / 'b'}")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "drifted: labels: category: values: PSI" in result.stdout
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["drift.html", "drift.json"]


@pytest.fixture(scope="module")
def against_the_model(exported, tmp_path_factory):
    """Compare photos of the shop with its validation photos by the model."""
    folder = tmp_path_factory.mktemp("by_model")
    held_out = set()
    for split in ("validation", "test"):
        held_out |= products(exported.records, split)
    rows = [row for row in rows_of(exported) if row["product_id"] in held_out]

    def compare(name: str, image_root: Path):
        table = write_table(folder / f"{name}.csv", rows)
        options = DriftOptions(aspects=("scores", "embedding"))
        output = folder / name
        return drift.drift(
            table, exported.records, output, image_root, exported.model, options=options
        )

    return compare


def products(records: Path, split: str) -> set[str]:
    return {record["product_id"].decode() for record in read_split(records, split)}


def test_model_outputs_of_the_same_photos_have_not_drifted(against_the_model, exported):
    report = against_the_model("same", exported.path)
    assert alarms(report) == {}
    assert {c.aspect for c in report.comparisons} == {"scores", "embedding"}
    assert len(report.distances.farthest) == 12


def test_recoloured_photos_are_reported_by_the_embedding(against_the_model, exported, tmp_path):
    (tmp_path / "images").mkdir()
    for path in (exported.path / "images").iterdir():
        draw_photo(tmp_path / "images" / path.name, "jeans", ["black"], "")
    report = against_the_model("recoloured", tmp_path)
    assert alarms(report)["embedding Separability"] == "drifted"
    assert any(key.startswith("scores color") for key in alarms(report))


def test_other_records_than_the_models_are_a_warning(exported, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Manifest, "digest", "0" * 16)
    table = write_table(tmp_path / "t.csv", rows_of(exported))
    arguments = (table, exported.records, tmp_path / "out", exported.path, exported.model)
    with caplog.at_level("WARNING", "absl"):
        drift.drift(*arguments, options=DriftOptions(aspects=("scores",)))
    assert "trained on other records" in caplog.text


def test_a_model_of_other_records_is_refused(exported, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(next(exported.model.glob("[0-9]*")), model / "1")
    other = Schema.parse(SCHEMA.replace("no neck", "polo neck"), "test")
    described = model / "1" / "assets" / "model.json"
    content = json.loads(described.read_text(encoding="utf-8"))
    table = write_table(tmp_path / "t.csv", rows_of(exported))
    arguments = (table, exported.records, tmp_path / "out", exported.path, model)

    def describe(**changes):
        changed = {**content, **changes}
        digest = made_from.description_digest(changed)
        described.write_text(json.dumps({**changed, "digest": digest}), encoding="utf-8")

    describe(photo_short_side=48)
    with pytest.raises(InputError, match="short side of 48, but the records have 64"):
        drift.drift(*arguments)
    describe(fingerprint=other.fingerprint)
    other.write(model / "1" / "assets" / "schema.yaml")
    with pytest.raises(InputError, match="another schema"):
        drift.drift(*arguments)
    with pytest.raises(InputError, match="not a SavedModel"):
        drift.drift(*arguments[:-1], tmp_path)
    assert not (tmp_path / "out").exists()
