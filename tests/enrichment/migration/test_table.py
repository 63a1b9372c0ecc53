"""Tests of migration/table.py: columns and cells under the new schema."""

from __future__ import annotations

import csv
import shutil

import pytest
import yaml

from attr_extractor import labels
from attr_extractor.catalogue import splits
from attr_extractor.enrichment.migration import migrate
from attr_extractor.errors import InputError
from attr_extractor.records import relabel
from attr_extractor.schema import Schema
from tests.conftest import SCHEMA, require_bad_input, run_tool, write_table
from tests.enrichment.migration.by_hand import APART, JOINED, MAPPING, NEW_SCHEMA, TOGETHER
from tests.records.by_hand import InProcess, labels_of, read_split

HEADER = ["product_id", "image", "title", "category", "neck_type", "color", "closure"]


def migrated(tmp_path, rows, mapping=MAPPING, new=NEW_SCHEMA, old=SCHEMA, header=HEADER):
    """Return the header and rows of the migrated table, and the printed summary."""
    for name, text in (("old", old), ("new", new), ("m", mapping)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    source = write_table(tmp_path / "table.csv", [dict(zip(header, row)) for row in rows])
    said = migrate.migrate(
        tmp_path / "new.yaml",
        tmp_path / "m.yaml",
        tmp_path / "old.yaml",
        source,
        tmp_path / "table_new.csv",
    )
    with open(tmp_path / "table_new.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows, said


def test_columns_are_renamed_and_cells_rewritten_in_place(tmp_path):
    rows = [
        ["a", "a.jpg", "red|shirt", "shirt", "round neck", "blue", "drawstring"],
        ["b", "b.jpg", "NA", "Jeans", "", "green|blue", "zip"],
        ["c", "c.jpg", "", "shirt", "V Neck", "NA", "button|zip"],
    ]
    header, found, said = migrated(tmp_path, rows)
    assert header == [*HEADER[:4], "Neckline", "color", "closure", "pocket"]
    assert found == [
        ["a", "a.jpg", "red|shirt", "top", "crew", "blue", "drawstring", ""],
        ["b", "b.jpg", "NA", "Jeans", "", "blue", "fastened", ""],
        ["c", "c.jpg", "", "top", "V Neck", "NA", "fastened", ""],
    ]
    assert "  cells of closure: 2 rewritten" in said
    assert "  columns added, empty: pocket" in said


@pytest.mark.parametrize(
    ("cell", "becomes", "counted"),
    [
        ("red", "", "1 emptied, their value was split"),
        ("red|blue", "", "1 emptied, their value was split"),  # "blue" alone would deny both reds
        ("green", "", "1 emptied, their value was removed"),
        ("blue|mauve", "blue|mauve", "1 unchanged"),
        ("mauve", "mauve", "1 unchanged"),
        ("BLUE", "BLUE", None),
        ("", "", None),
    ],
)
def test_a_rewritten_cell_adds_no_information(tmp_path, cell, becomes, counted):
    _, (row,), said = migrated(tmp_path, [["a", "a.jpg", "", "shirt", "", cell, ""]])
    assert row[5] == becomes
    assert (f"  cells of color: {counted}" in said) if counted else ("cells of color" not in said)


def test_a_split_value_keeps_the_others_if_unlisted_values_are_missing(tmp_path):
    def listed(text):
        return text.replace("exclusive: false", "exclusive: false\n    unlisted: missing")

    row = ["a", "a.jpg", "", "shirt", "", "red|blue", ""]
    _, (found,), _ = migrated(tmp_path, [row], new=listed(NEW_SCHEMA), old=listed(SCHEMA))
    assert found[5] == "blue"


def test_a_contradictory_cell_stays_contradictory_after_a_removal(tmp_path):
    """Two values of an exclusive attribute stay a contradiction if one of them is removed."""
    new = NEW_SCHEMA.replace("no neck, ", "")
    mapping = MAPPING.replace("color=green", "color=green, neck_type=no neck")
    row = ["a", "a.jpg", "", "shirt", "v-neck|no neck", "", ""]
    _, (found,), _ = migrated(tmp_path, [row], mapping, new)
    assert found[4] == "v-neck|no neck"
    _, issues = labels.encode(Schema.parse(new, "new"), {"category": "top", "neckline": found[4]})
    assert [issue.attribute for issue in issues] == ["neckline"]


def test_a_removed_attribute_has_no_column_and_a_split_one_has_two(tmp_path):
    content = yaml.safe_load(SCHEMA)
    content["attributes"] = [a for a in content["attributes"] if a["name"] != "neck_type"]
    content["attributes"][2].update(values=["zip", "button"], values_by_category={})
    content["attributes"].append({"name": "waist", "values": ["drawstring"]})
    mapping = "{attributes: {waist: closure}, removed: [neck_type], changed: [closure, waist]}"
    rows = [
        ["a", "a.jpg", "", "shirt", "v-neck", "red", "zip"],
        ["b", "b.jpg", "", "shirt", "v-neck", "red", "drawstring"],
    ]
    header, found, said = migrated(tmp_path, rows, mapping, yaml.safe_dump(content))
    assert header[3:] == ["category", "color", "closure", "waist"]
    assert [row[3:] for row in found] == [
        ["shirt", "red", "zip", ""],
        ["shirt", "red", "", "drawstring"],
    ]
    assert "  columns left out: neck_type" in said
    assert "cells of waist: 1 emptied, their value belongs to another attribute" in said


def test_words_that_no_longer_mean_missing_are_emptied(tmp_path):
    new = NEW_SCHEMA.replace("[NA]", "[unknown]")
    _, (row,), _ = migrated(tmp_path, [["a", "a.jpg", "", "NA", "", "NA", ""]], new=new)
    assert [row[3], row[5]] == ["", ""]


def test_an_existing_column_of_an_added_attribute_is_kept(tmp_path):
    header = [*HEADER[:2], "pocket", *HEADER[3:]]
    row = ["a", "a.jpg", "welt", "shirt", "", "", ""]
    names, (found,), _ = migrated(tmp_path, [row], header=header)
    assert names.count("pocket") == 1 and found[2] == "welt"


@pytest.mark.parametrize("name", ["Neckline", "neckline"])
def test_a_conflicting_column_raises(tmp_path, name):
    header = [*HEADER[:2], name, *HEADER[3:]]
    with pytest.raises(InputError, match=f"the column '{name}' conflicts with"):
        migrated(tmp_path, [["a", "a.jpg", "x", "shirt", "", "", ""]], header=header)
    assert not (tmp_path / "table_new.csv").exists()


@pytest.mark.parametrize(
    ("category", "cells", "becomes", "counted"),
    [
        ("shirt", ["round neck", "", "plain", ""], ["crew", "plain"], "neck: 1 rewritten"),
        ("dress", ["", "v-neck", "floral", "floral"], ["v-neck", "floral"], "pattern: 1 rewritten"),
        ("dress", ["NA", "HALTER", "plain", "paisley"], ["HALTER", "plain|paisley"], None),
        # the other attribute of the row is not known, and might have had a value
        ("dress", ["", "strapless", "floral", ""], ["", ""], "pattern: 1 emptied, another"),
        ("dress", ["", "strapless", "flowral", ""], ["", "flowral"], "pattern: 1 unchanged"),
        ("", ["v-neck", "", "plain", "NA"], ["v-neck", ""], "pattern: 1 emptied, another"),
        # nobody knows which is right; an unknown word stays for a person to see
        ("", ["round neck", "halter", "", ""], ["crew|halter", ""], "neck: 1 left with two"),
        ("", ["v-neck", "haltr", "", ""], ["v-neck|haltr", ""], "neck: 1 unchanged"),
        ("", ["v-neck", "strapless", "", "NA"], ["v-neck", ""], "neck: 1 rewritten"),
        # what did not apply to the row said nothing before
        ("shirt", ["v-neck", "halter", "floral", "paisley"], ["v-neck", "floral"], None),
        ("shirt", ["", "v-neck", "", "paisley"], ["", ""], "neck: 1 emptied, the filled attribute"),
    ],
)
def test_cells_of_merged_attributes(tmp_path, category, cells, becomes, counted):
    header = ["product_id", "image", "category", "shirt_neck", "dress_neck", "print", "motif"]
    row = ["a", "a.jpg", category, *cells]
    names, (found,), said = migrated(tmp_path, [row], JOINED, TOGETHER, APART, header)
    assert names == ["product_id", "image", "category", "neck", "pattern"]
    assert found == ["a", "a.jpg", category, *becomes]
    assert counted is None or f"  cells of {counted}" in said


EXPECTED = {  # by old attribute: the new one, and its values by the old one's
    "category": ("category", {"shirt": "top", "jeans": "jeans"}),
    "neck_type": ("neckline", {"v-neck": "v-neck", "round neck": "crew", "no neck": "no neck"}),
    "closure": ("closure", {"button": "fastened", "zip": "fastened", "drawstring": "drawstring"}),
}


def by_product(records):
    """int8[V] by product_id, of all splits."""
    found = [example for split in splits.SPLITS for example in read_split(records, split)]
    return dict(zip((example["product_id"].decode() for example in found), labels_of(found)))


def test_relabelled_records_keep_the_labels(built, tmp_path):
    for name, text in (("new", NEW_SCHEMA), ("m", MAPPING)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    arguments = [f"--old_schema={built.schema_file}", f"--schema={tmp_path / 'new.yaml'}"]
    arguments += [f"--mapping={tmp_path / 'm.yaml'}", f"--catalogue={built.catalogue}"]
    output = tmp_path / "table_new.csv"
    result = run_tool("migrate_schema", *arguments, f"--output={output}")
    assert result.returncode == 0, result.stderr
    require_bad_input(
        run_tool("migrate_schema", *arguments, f"--output={output}"), f"{output}: exists already"
    )
    records = tmp_path / "records"
    shutil.copytree(built.records, records)
    old, new = Schema.read(built.schema_file), Schema.read(tmp_path / "new.yaml")
    manifest = relabel.relabel(output, new, records, InProcess())
    assert manifest.fingerprint == new.fingerprint
    before, after = by_product(built.records), by_product(records)
    assert before.keys() == after.keys() and len(before) == 120
    for product, codes in before.items():
        was, now = labels.decode(old, codes), labels.decode(new, after[product])
        assert now["pocket"] is None
        for name, (new_name, values) in EXPECTED.items():
            given = was[name]
            assert now[new_name] == (None if given is None else [values[v] for v in given])
        colors = was["color"]
        gone = colors is None or "red" in colors or colors == ["green"]
        assert now["color"] == (None if gone else ["blue"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to migrate: give --catalogue, --run_dir or both"),
        (["--catalogue=a.csv"], "--catalogue needs --output"),
        (["--catalogue=a.csv", "--output=b.csv"], "--catalogue needs --old_schema"),
        (["--run_dir=run"], "--run_dir needs --records and --output_dir"),
    ],
)
def test_missing_flags_raise(flags, message):
    given = dict(flag[2:].split("=") for flag in flags)
    with pytest.raises(InputError, match=message):
        migrate.migrate("new.yaml", "m.yaml", **given)
