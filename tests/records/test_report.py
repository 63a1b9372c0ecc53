"""Tests of the validation report: right numbers, safe text, one file, deterministic bytes."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from scipy.stats import entropy

from attr_extractor import labels
from attr_extractor.labels import Issue
from attr_extractor.records import (
    builder,
    index,
    near_duplicates,
    plan,
    report,
    report_labels,
    report_photos,
)
from attr_extractor.records import rows as table_rows
from attr_extractor.records.manifest import Manifest
from attr_extractor.records.rows import Reject
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA, Shop, draw_photo, write_table
from tests.records.by_hand import InProcess, labels_of, read_csv, read_split
from tests.records.report_page import Page

EVIL = "<script>alert('1')</script>"
ODD = ['v-neck "x"', "v-neck's", "- v-neck", "V-NECKS", "v-necks", "v-neck: # {\N{DANCER}"]
COLORS = ("red", "green", "blue")
OPTIONS = plan.BuildOptions(image_size=64, split_column="split", group_column="seller")


def arguments(catalogue: Path, schema: Schema, records: Path, scratch: Path) -> list:
    scratch.mkdir()
    manifest = Manifest.read(records)
    found = table_rows.read_rows(catalogue, schema, scratch).findings
    names = {split: [s.name for s in held.shards] for split, held in manifest.splits.items()}
    listed = {split: index.read_photos(str(records), shards) for split, shards in names.items()}
    rejects = [
        Reject(int(r["row"]), *list(r.values())[1:]) for r in read_csv(records / "rejects.csv")
    ]
    similar = near_duplicates.read(records)
    return [schema, manifest, found, listed, rejects, similar, str(records)]


@pytest.fixture(scope="module")
def evil_shop(tmp_path_factory: pytest.TempPathFactory, schema: Schema) -> Path:
    """Build a table twice that has every flaw the report lists."""
    folder = tmp_path_factory.mktemp("evil")
    rows = []
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for i in range(40):
        category, neck, image = ("shirt", "jeans")[i % 2], "", f"{i}.jpg"
        if category == "shirt":
            neck = ODD[i // 2] if i // 2 < len(ODD) else ("v-neck", "", "round neck")[i % 3]
        color = {1: EVIL, 3: EVIL, 5: "red|zzzz", 7: ""}.get(i, COLORS[i % 3])
        draw_photo(folder / image, category, [COLORS[i % 3]], neck, size=48 + i)
        if i in (2, 30):
            Image.open(folder / image).save(folder / image, icc_profile=profile)
        if i in (32, 36):
            image = "28.jpg"  # three products, one photo
        rows.append({
            "product_id": f"{EVIL}{i}", "image": image, "category": category, "neck_type": neck,
            "color": color, "closure": "button|zip" if i == 9 else "button", "seller": f"s{i % 4}",
            "split": ("train", "train", "validation", "test")[i % 4],
        })  # fmt: skip
    rows[11]["neck_type"] = "v-neck"  # of jeans
    rows[13]["image"] = f"{EVIL}.jpg"
    rows[38]["neck_type"] = "no neck"  # in the validation split alone
    write_table(folder / "t.csv", rows)
    for name in ("a", "b"):
        builder.build(folder / "t.csv", schema, folder / name, None, OPTIONS, InProcess())
    return folder


@pytest.fixture(scope="module")
def given(evil_shop: Path, schema: Schema) -> list:
    return arguments(evil_shop / "t.csv", schema, evil_shop / "a", evil_shop / "scratch")


@pytest.fixture(scope="module")
def page(given: list) -> Page:
    return Page(report.render(*given))


def test_sellers_text_is_escaped_everywhere(page: Page):
    kinds = Counter(tag for tag, _ in page.tags)
    assert kinds["script"] == 1
    handlers = {(tag, name) for tag, found in page.tags for name in found if name.startswith("on")}
    assert handlers == set()
    for section in ("rejects", "unknown", "duplicates"):
        assert EVIL in page.texts[section]
    assert any(EVIL in title for _, title, _ in page.photos)


def test_the_page_is_self_contained(page: Page):
    for _, found in page.tags:
        assert not {"src", "srcset", "action", "data"} & set(found)
        assert found.get("href", "#").startswith("#")
    assert set(re.findall(r"url\((.{15})", page.source)) == {"data:image/jpeg"}
    assert "@import" not in page.source
    anchors = {found["href"][1:] for tag, found in page.tags if tag == "a"}
    assert anchors == {found["id"] for tag, found in page.tags if tag == "section"}
    sought = {found["data-search"] for _, found in page.tags if "data-search" in found}
    assert sought <= {found.get("id") for _, found in page.tags}


def test_two_builds_of_one_table_give_the_same_bytes(
    evil_shop: Path, schema: Schema, page: Page, tmp_path: Path
):
    again = arguments(evil_shop / "t.csv", schema, evil_shop / "b", tmp_path / "scratch")
    assert report.render(*again) == page.source


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_synonyms_block_pasted_into_the_schema_makes_its_values_known(
    page: Page, schema: Schema, indent: str
):
    (block,) = page.blocks
    old = "    synonyms: {v neck: v-neck}\n"
    assert old in SCHEMA
    pasted = "    " + block.replace("\n", "\n" + indent) + "\n"
    changed = Schema.parse(SCHEMA.replace(old, pasted), "pasted")
    assert changed["neck_type"].synonyms["v neck"] == "v-neck"
    for cell in ODD:
        assert schema["neck_type"].value_of(cell) is None
        assert changed["neck_type"].value_of(cell) == 0
    assert '"V-NECKS": "v-neck",  # 2 cells' in block  # v-necks is the same but for its case


SPELLINGS = """yes null ~ 1e-3 *a &b % @ #c { ] ' " \\ -d e\u0301 \N{DANCER} \x7f""".split()


@pytest.mark.parametrize(
    "spelling", [*SPELLINGS, "a: b", "# c", "- d", "? e", ", ", "tab\tin", "a\u2028b", "x" * 500]
)
def test_a_synonyms_block_is_valid_yaml_for_any_spelling(schema: Schema, spelling: str):
    block = report.synonyms_block(schema["color"], [report.UnknownValue(1, spelling, "red")])
    text = SCHEMA.replace("    exclusive: false\n", f"    exclusive: false\n    {block}\n")
    assert Schema.parse(text, "pasted")["color"].synonyms == {spelling: "red"}


def test_unknown_values_that_resemble_none_are_listed_with_their_counts(page: Page):
    assert page.cells("unknown", EVIL) == ["2"]
    assert page.cells("unknown", "zzzz") == ["1"]
    assert "9 cells contain a value" in page.texts["unknown"]


def test_contradictions_are_listed_by_kind_attribute_and_cell(page: Page):
    assert page.cells("contradictions", "does not apply") == ["neck_type", "1", "v-neck 1"]
    several = page.cells("contradictions", "several values of an exclusive attribute")
    assert several == ["closure", "1", "button|zip 1"]


def test_cells_beyond_those_listed_are_counted(given: list):
    findings = given[2]
    more = table_rows.Findings(
        findings.states, findings.present, Counter({"two categories": 9}),
        Counter({Issue("category", EVIL, "two categories"): 3}),
    )  # fmt: skip
    page = Page(report.render(*given[:2], more, *given[3:]))
    text = page.texts["contradictions"]
    assert "9 filled cells" in text
    assert "Only the first 100,000 different cells" in text
    assert page.cells("contradictions", "two categories") == ["category", "3", f"{EVIL} 3"]


def test_coverage_is_computed_over_applicable_rows(page: Page):
    # 20 shirts: 10 necks, 4 empty, 6 unknown; 20 jeans, one of them with a neck
    assert page.cells("coverage", "neck_type") == ["", "50.0 %", "50.0 %", "10", "4", "7"]
    assert page.cells("coverage", "shirt 20", 1) == ["50", "100", "100"]
    assert page.cells("coverage", "jeans 20", 1) == ["\N{MIDDLE DOT}", "80", "95"]


def test_imbalance_within_an_attribute_is_computed_over_training_photos(page: Page):
    even = np.exp(entropy([3, 2]))
    numbers = ["3", "2", "v-neck", "60.0 %", "round neck (2)", "1.5"]
    numbers += [f"{even:.1f}", f"{np.log(even) / np.log(3):.2f}"]
    assert page.cells("imbalance", "neck_type") == numbers
    assert "ratio 10 : 9 = 1.1" in page.texts["imbalance"]  # a photo of jeans is missing


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [5, 0], [700, 20, 1, 0], [3]])
def test_the_effective_number_is_the_exponential_of_the_entropy(counts: list[int]):
    assert report_labels.effective_number(counts) == pytest.approx(np.exp(entropy(counts)))
    assert report_labels.effective_number([0, 0]) == 0


def test_rarity_depends_on_the_training_photos(
    given: list, evil_shop: Path, schema: Schema, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report_labels, "FEW_PHOTOS", 3)
    train = (labels_of(read_split(evil_shop / "a", "train")) == labels.PRESENT).sum(axis=0)
    found = report_labels.rarity(given[1])
    assert [bool(kind) for kind in found] == (train < 3).tolist()
    kinds = dict(zip(schema["neck_type"].values, found[schema.slices["neck_type"]]))
    assert kinds == {"v-neck": "", "round neck": "fewer than 3", "no neck": "held out only"}
    assert found[-1] == "never seen"  # a drawstring
    assert report_labels.unlearnable(schema, given[1]) == ["neck_type", "closure"]


def test_every_photo_of_a_value_shows_that_value(page: Page, evil_shop: Path, schema: Schema):
    urls = dict(
        re.findall(r"\.(p\d+)\{background-image:url\(data:image/jpeg;base64,(.*?)\)", page.source)
    )
    examples = [
        e for split in ("train", "validation", "test") for e in read_split(evil_shop / "a", split)
    ]
    of_product = dict(zip((e["product_id"].decode() for e in examples), labels_of(examples)))
    values = [value for a in schema.attributes for value in a.values]
    shown = Counter()
    for row, title, name in page.photos:
        product, image = title.split(": ")
        value = row[0].strip()
        shown[value] += 1
        assert of_product[product][values.index(value)] == labels.PRESENT
        with Image.open(io.BytesIO(base64.b64decode(urls[name]))) as thumbnail:
            assert max(thumbnail.size) <= 72
            colors = np.asarray(thumbnail).mean(axis=(0, 1))
        with Image.open(evil_shop / image) as original:
            assert colors == pytest.approx(np.asarray(original).mean(axis=(0, 1)), abs=12)
    present = np.sum([codes == labels.PRESENT for codes in of_product.values()], axis=0)
    assert all(0 < shown[v] <= 3 for v, count in zip(values, present) if count)


def test_the_rarest_values_are_shown_if_thumbnails_exceed_the_limit(
    given: list, schema: Schema, monkeypatch: pytest.MonkeyPatch
):
    everything = report_photos.sample_photos(*given[:2], given[3], given[6])
    some = sorted(len(url) for url in everything.thumbnails.values())
    monkeypatch.setattr(report_photos, "MOST_BYTES", sum(some[-3:]))
    samples = report_photos.sample_photos(*given[:2], given[3], given[6])
    assert sum(len(url) for url in samples.thumbnails.values()) <= sum(some[-3:])
    assert schema.slices["neck_type"].start + 2 in samples.of_value  # no neck: one photo in all


def test_the_limit_on_photos_read_is_respected_and_reported(
    given: list, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report_photos, "MOST_READ", 5)
    assert report_photos.sample_photos(*given[:2], given[3], given[6]).read == 5
    assert "Only the first 5 photos" in report.render(*given)


def test_duplicates_count_photos_and_products(page: Page, given: list):
    assert report_photos.identical_photos(given[3])[:3] == (1, 3, 1)
    names = ", ".join(f"{EVIL}{i}" for i in (28, 32, 36))
    assert page.cells("duplicates", "3") == ["3", "train", "28.jpg", names]


def test_rows_groups_and_rejects_are_counted(page: Page):
    assert page.cells("splits", "train")[:4] == ["19", "19", "48.7 %", "2"]
    assert page.cells("splits", "test")[:4] == ["10", "10", "25.6 %", "1"]
    (reason,) = page.tables["rejects"][0][1:]
    assert reason[1].strip() == "1"
    assert f"row 14 {EVIL}13 {EVIL}.jpg" in reason[2]


def test_disk_space_and_training_hours(page: Page, evil_shop: Path):
    total = sum(path.stat().st_size for path in (evil_shop / "a").glob("*.tfrecord"))
    assert page.cells("cost", "shards of these records") == [f"{total / 1024:.1f} KiB"]
    assert report_photos.training_hours(1000, 32, 15, 2.0) == pytest.approx(31 * 15 * 2 / 3600)


def test_colour_profiles_other_than_srgb_are_counted(page: Page):
    assert "XYZ identity built-in2\n" in page.texts["sizes"]


def test_a_clean_build_has_no_rejects_contradictions_or_unknown_values(
    built: Shop, schema: Schema, tmp_path: Path
):
    found = Page(report.render(*arguments(built.catalogue, schema, built.records, tmp_path / "s")))
    for section in ("rejects", "contradictions", "unknown"):
        assert "None: " in found.texts[section]


def test_records_without_held_out_photos_have_a_report(schema: Schema, tmp_path: Path):
    draw_photo(tmp_path / "a.jpg", "shirt", ["red"], "v-neck")
    table = write_table(tmp_path / "t.csv", [{
        "product_id": "a", "image": "a.jpg", "category": "", "neck_type": "", "color": "",
        "closure": "",
    }])  # fmt: skip
    options = plan.BuildOptions(image_size=64, split_fractions=(1.0, 0.0, 0.0))
    builder.build(table, schema, tmp_path / "r", None, options, InProcess())
    found = Page(report.render(*arguments(table, schema, tmp_path / "r", tmp_path / "s")))
    assert found.photos == []
    assert "None of the categories" in found.texts["imbalance"]
