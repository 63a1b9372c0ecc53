"""Tests of catalogue/infer.py, catalogue/columns.py and tools/infer_schema.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attr_extractor.catalogue.columns import identifiers
from attr_extractor.catalogue.infer import Draft, infer_schema
from attr_extractor.catalogue.table import _names, read_columns
from attr_extractor.errors import InputError
from attr_extractor.labels import encode
from attr_extractor.schema import Schema, fold
from tests.conftest import require_bad_input, run_tool


def table(rows: int = 60, **columns: list[str]) -> pd.DataFrame:
    """Products with ids, photos, a category and the given columns, repeated to `rows` cells."""
    cells = {
        "product_id": [f"p{i}" for i in range(rows)],
        "image": [f"{i}.jpg" for i in range(rows)],
        "category": (["shirt", "dress"] * rows)[:rows],
    }
    for name, column in columns.items():
        cells[name] = (list(column) * (rows // len(column) + 1))[:rows]
    return pd.DataFrame(cells, dtype=object)


def infer(rows: int = 60, **columns: list[str]) -> Draft:
    return infer_schema(table(rows, **columns), "test")


def renamed(renames: dict[str, str], **columns: list[str]) -> Draft:
    return infer_schema(table(**columns).rename(columns=renames), "test")


def found(draft: Draft, text: str) -> bool:
    return any(text in finding for finding in draft.findings)


# Values


def test_values_are_sorted_by_frequency_then_alphabetically() -> None:
    draft = infer(60, fit=["slim", "loose", "loose", "wide", "loose", "slim"])
    assert draft.schema["fit"].values == ["loose", "slim", "wide"]
    assert draft.attributes["fit"].values == {"loose": 30, "slim": 20, "wide": 10}
    tied = infer(60, fit=["b", "a", "d", "c"])
    assert tied.schema["fit"].values == ["a", "b", "c", "d"]


def test_spellings_that_fold_alike_are_one_value_in_the_most_frequent_spelling() -> None:
    draft = infer(60, fit=["Slim Fit", "Slim Fit", "slim  fit", "SLIM FIT ", "loose", "loose"])
    assert draft.schema["fit"].values == ["Slim Fit", "loose"]
    assert draft.schema["fit"].synonyms == {}
    assert draft.attributes["fit"].values["Slim Fit"] == 40


def test_spellings_that_differ_in_joints_become_synonyms_and_are_reported() -> None:
    draft = infer(60, neck=["V-Neck", "V-Neck", "v neck", "vneck", "v_neck", "round"])
    neck = draft.schema["neck"]
    assert neck.values == ["V-Neck", "round"]
    assert {neck.value_of(s) for s in ("V NECK", "vneck", "v_neck", "v-neck")} == {0}
    assert found(draft, "'v neck' is read as 'V-Neck'")


def test_digits_are_never_joined() -> None:
    draft = infer(60, size=["1-5", "15", "1.5", "-2", "2", "a"])
    assert sorted(draft.schema["size"].values) == ["-2", "1-5", "1.5", "15", "2", "a"]


def test_probable_misspellings_are_proposed_and_not_merged() -> None:
    cells = ["polka dots"] * 58 + ["polka dtos", "stripes"]
    draft = infer(60, pattern=cells)
    assert draft.schema["pattern"].values == ["polka dots", "polka dtos", "stripes"]
    assert draft.schema["pattern"].synonyms == {}
    assert found(draft, "'polka dtos' (1) a misspelt 'polka dots'?")
    assert found(draft, "2 of 3 values in one row only")


def test_a_spelling_in_three_rows_is_not_a_misspelling() -> None:
    assert not found(infer(60, pattern=["dotted"] * 57 + ["doted"] * 3), "misspelt")
    assert found(infer(60, pattern=["dotted"] * 58 + ["doted"] * 2), "misspelt")


@pytest.mark.parametrize("pair", [("male", "female"), ("size 10", "size 12")])
def test_distinct_words_are_not_misspellings(pair: tuple[str, str]) -> None:
    draft = infer(60, x=[pair[1]] * 59 + [pair[0]])
    assert not found(draft, "misspelt")


def test_yes_and_no_are_read_back_as_words(tmp_path: Path) -> None:
    draft = infer(60, collar=["yes", "no", "no"], kids=["True", "False", "False"])
    draft.write(tmp_path / "s.yaml")
    read = Schema.read(tmp_path / "s.yaml")
    assert read["collar"].values == ["no", "yes"]
    assert read["kids"].values == ["False", "True"]


# Exclusive or several


def test_a_bar_in_cells_makes_an_attribute_not_exclusive() -> None:
    draft = infer(60, color=["red", "red|blue", "blue"], fit=["slim", "slim|", "loose|Loose"])
    assert not draft.schema["color"].exclusive
    assert draft.attributes["color"].values == {"blue": 40, "red": 40}
    assert draft.schema["fit"].exclusive  # no cell lists two different values


def test_few_cells_with_a_bar_are_reported() -> None:
    draft = infer(400, color=["red", "blue"] * 199 + ["red|blue", "blue"])
    assert not draft.schema["color"].exclusive
    assert found(draft, "color: only 1 rows list several values")


@pytest.mark.parametrize("separator", [", ", ";", "/"])
def test_lists_with_other_separators_are_reported_and_not_split(separator: str) -> None:
    both = separator.join(["red", "blue"])
    draft = infer(60, color=["red", "blue", both, separator.join(["blue", "red"])])
    assert both in draft.schema["color"].values
    assert found(draft, f"color: 30 rows look like lists separated by '{separator.strip()}'")


def test_fractions_and_compounds_are_not_lists() -> None:
    draft = infer(60, sleeve=["3/4 sleeve", "3/4 length", "long"], fit=["and/or", "w/o"])
    assert not found(draft, "look like lists")


# Missing


def test_words_that_mean_missing_are_listed_and_reported_with_their_columns() -> None:
    draft = infer(60, pattern=["none", "dots", "stripes"], fit=["N/A", "slim", "loose", "n/a"])
    assert sorted(draft.schema.missing_values) == ["N/A", "none"]
    assert draft.schema["pattern"].values == ["dots", "stripes"]
    assert found(draft, "'none' counts as missing in pattern (20 rows)")
    assert found(draft, "'N/A' counts as missing in fit (30 rows)")
    assert infer(60, fit=["slim", "loose"]).schema.missing_values == []


def test_filled_cells_exclude_empty_cells_and_words_that_mean_missing() -> None:
    draft = infer(60, fit=["slim", "loose", "", "  ", "-", "unknown"])
    assert draft.attributes["fit"].filled == 20
    assert "- name: fit  # 33.3 % filled, 2 values" in draft.to_yaml()


# Columns


def test_ids_texts_prices_dates_groups_and_splits_are_not_attributes() -> None:
    numbers = [str(i) for i in range(60)]
    draft = infer(
        60,
        fit=["slim", "loose"],
        size=["36", "38", "40"],
        price=[f"${i},00" for i in range(30)],
        title=[f"a fine thing, number {i}" for i in numbers],
        added=["2024-01-02", "2024-02-01"],
        seller=numbers[:25],
        shop_name=[f"shop {'abcdefghijklmnopqrstuvwxy'[i]}" for i in range(25)],
        parent_id=numbers[:25],
        barcode=numbers,
        link=["https://a.example/1", "https://a.example/2"],
        back=[f"{i}-back.png" for i in numbers],
        split=["train", "train", "test"],
        notes=[""],
        leather=["yes", ""],
        age_group=["adult", "child"],
    )
    assert draft.schema.names == ["category", "fit", "size", "age_group"]
    assert draft.left_out["price"] == "numbers: 30 distinct values in 60 filled cells"
    assert draft.left_out["added"].startswith("dates")
    for group in ("seller", "shop_name", "parent_id"):
        assert draft.left_out[group] == "looks like a group: 25 values; use it with --group_column"
    assert draft.left_out["barcode"].startswith("identifiers")
    assert draft.left_out["link"].startswith("web addresses")
    assert draft.left_out["back"].startswith("photo files")
    assert "--split_column" in draft.left_out["split"]
    assert draft.left_out["notes"] == "no cell has a value"
    assert draft.left_out["leather"] == "only one value, 'yes'"
    assert "60 distinct values" in draft.left_out["title"]
    assert set(draft.left_out) | set(draft.schema.names) | {"product_id", "image"} == {
        "product_id", "image", "category", "fit", "size", "price", "title", "added", "seller",
        "shop_name", "parent_id", "barcode", "link", "back", "split", "notes", "leather",
        "age_group",
    }  # fmt: skip


def test_a_column_with_too_many_values_is_left_out_unless_it_is_the_category() -> None:
    many = table(100, kind=[f"kind {i % 30}" for i in range(100)])
    assert "kind" in infer_schema(many, "test", max_values=29).left_out
    assert "kind" in infer_schema(many, "test", max_values=30).schema.names
    named = infer_schema(many, "test", "kind", max_values=2)
    assert len(named.schema["kind"].values) == 30


def test_a_column_of_lists_is_left_out_with_that_reason() -> None:
    tags = [f"a,{'bcdefgh'[i % 7]},{'rstuv'[i % 5]}" for i in range(35)]
    assert "they look like lists" in infer(35, tags=tags).left_out["tags"]


@pytest.mark.parametrize("id_column", ["SKU", "ID", "styleId", "Réf."])
@pytest.mark.parametrize("image_column", ["Photo", "picture_url", "file", "Bild 1", "x"])
def test_product_id_and_image_are_found_under_other_names(
    id_column: str, image_column: str
) -> None:
    draft = renamed({"product_id": id_column, "image": image_column}, fit=["a", "b"])
    assert draft.schema.columns == {"product_id": id_column, "image": image_column}
    assert draft.schema.names == ["category", "fit"]


def test_the_image_column_is_the_one_whose_cells_are_photo_files() -> None:
    cells = table(60, image_type=["front", "back"]).rename(columns={"image": "where"})
    cells["where"] = [f"a/{i}.JPG|a/{i}-b.jpeg" for i in range(60)]
    draft = infer_schema(cells, "test")
    assert draft.schema.columns == {"image": "where"}
    assert "image_type" in draft.schema.names


def test_photos_separated_by_anything_but_a_bar_are_reported() -> None:
    cells = table(60, fit=["a", "b"])
    cells["image"] = [f"{i}.jpg,{i}b.jpg" for i in range(60)]
    assert found(infer_schema(cells, "test"), "separate them by '|'")


def test_repeated_ids_and_missing_photos_are_counted() -> None:
    cells = table(60, fit=["a", "b"])
    cells.loc[1:3, "product_id"] = "p0"
    cells.loc[5, "image"] = ""
    draft = infer_schema(cells, "test")
    assert found(draft, "product_id: 3 rows repeat")
    assert found(draft, "image: 1 rows have no photo")


# Identifiers


@pytest.mark.parametrize(
    ("column", "identifier"),
    [
        ("Neck Type", "neck_type"),
        ("baseColour", "base_colour"),
        ("SKUType", "sku_type"),
        ("Ärmel", "aermel"),
        ("Größe (EU)", "groesse_eu"),
        ("A\u0308rmel", "aermel"),
        ("matière", "matiere"),
        ("2nd color", "attribute_2nd_color"),
        ("领型", "attribute"),
        ("foo_score", "foo_score_value"),
        ("raw bytes", "raw_bytes_value"),
        ("error", "error_value"),
        ("Image", "image_value"),
        ("_x_", "x"),
    ],
)
def test_any_column_name_becomes_an_identifier(column: str, identifier: str) -> None:
    draft = renamed({"x": column}, x=["a", "b"])
    assert draft.schema.names == ["category", identifier]
    assert draft.schema.columns == {identifier: column}
    assert draft.schema[identifier].title() == column


def test_colliding_identifiers_are_numbered_and_a_column_keeps_its_own_name() -> None:
    columns = {"a": ["a", "b"], "b": ["c", "d"], "neck_type": ["e", "f"]}
    draft = renamed({"a": "Neck Type", "b": "neckType"}, **columns)
    assert draft.schema["neck_type"].values == ["e", "f"]
    assert draft.schema.columns == {"neck_type_2": "Neck Type", "neck_type_3": "neckType"}


def test_an_identifier_never_equals_the_name_of_a_column_that_is_left_out() -> None:
    draft = renamed({"a": "Neck Type"}, a=["a", "b"], neck_type=[""])
    assert draft.schema.columns == {"neck_type_2": "Neck Type"}


# The category


@pytest.mark.parametrize("name", ["articleType", "Product Type", "label", "class", "Kategorie"])
def test_the_category_is_found_by_its_name(name: str) -> None:
    draft = renamed({"category": name}, fit=["a", "b", "c"])
    assert draft.schema.column(draft.schema.category) == name


def test_without_a_known_name_the_category_is_the_filled_column_with_the_most_values() -> None:
    draft = renamed(
        {"category": "x1"},
        kind=["a", "b", "c"],
        color=["a", "b", "c", "d", "e|a"],
        rare=[*"abcdefg", *[""] * 23],
    )
    assert draft.schema.category == "kind"
    assert found(draft, "the category is 'kind', a guess")


def test_the_named_category_is_found_by_column_or_identifier() -> None:
    cells = table(60, masterCategory=["a", "b", "c"])
    for name in ("masterCategory", "master_category"):
        assert infer_schema(cells, "test", name).schema.category == "master_category"


def test_a_category_column_with_one_value_is_kept() -> None:
    cells = table(60, fit=["a", "b", "c"])
    cells["category"] = "dress"
    schema = infer_schema(cells, "test").schema
    assert (schema.category, schema["category"].values) == ("category", ["dress"])


def test_the_category_is_exclusive_even_if_a_cell_lists_two() -> None:
    cells = table(60, fit=["a", "b"])
    cells.loc[0, "category"] = "shirt|dress"
    draft = infer_schema(cells, "test", "category")
    assert draft.schema["category"].exclusive
    assert found(draft, "category: 1 rows are contradictory")


# Applicability


def by_category(rows: dict[str, int], neck: dict[str, str]) -> Draft:
    categories = [category for category, n in rows.items() for _ in range(n)]
    return infer(
        len(categories),
        category=categories,
        neck=[(neck.get(category, "") if i % 5 else "") for i, category in enumerate(categories)],
        fit=["a", "b"],
    )


def test_applies_to_excludes_categories_with_many_rows_and_no_value() -> None:
    rows = {"shirt": 50, "dress": 40, "shoes": 20, "scarf": 19}
    draft = by_category(rows, {"shirt": "v", "dress": "round"})
    assert draft.schema["neck"].applies_to == ["shirt", "dress", "scarf"]
    assert draft.schema["fit"].applies_to is None
    assert found(draft, "neck: never filled for 'shoes' (20 rows)")
    labels, issues = encode(draft.schema, {"category": "shoes"})
    assert labels[draft.schema.slices["neck"]].tolist() == [0, 0] and not issues


def test_applies_to_is_not_inferred_if_the_other_categories_are_mostly_empty() -> None:
    sparse = infer(
        200,
        category=["shirt"] * 100 + ["shoes"] * 100,
        neck=(["v", "round", "", "", ""] * 20 + [""] * 100),
    )
    assert sparse.schema["neck"].applies_to is None
    assert found(sparse, "applies_to not inferred")


# The file


def odd_table() -> pd.DataFrame:
    cells = table(
        80,
        color=["Red|blue", "red", "BLUE", "#N/A"],
        fit=["yes", "no", "null and void", "~", "2024-01-01 x", "- a", "k: v", "'q\"", "# no", "1"],
        neck=["v"] * 40 + [""] * 40,
        nose=["ü|☃", "领", "\x07bell", "a,b: {c}"],
        empty=[""],
    )
    cells["category"] = ["shirt"] * 40 + ["y"] * 40
    cells["neck"] = ["v", "round"] * 20 + [""] * 40
    odd = {"color": "Odd: 'column' #1", "nose": "- name: \n\x07x", "empty": "\x07\n- name: y"}
    return cells.rename(columns=odd)


def test_the_file_reads_back_to_the_same_schema(tmp_path: Path) -> None:
    draft = infer_schema(odd_table(), "test: #1")
    draft.write(tmp_path / "schema.yaml")
    assert Schema.read(tmp_path / "schema.yaml") == draft.schema
    assert draft.schema["neck"].applies_to == ["shirt"]
    assert len(draft.schema.attributes) == 5


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    draft, path = infer(60, fit=["slim", "loose"]), tmp_path / "schema.yaml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        draft.write(path)
    assert path.read_text(encoding="utf-8") == "mine"


def test_every_cell_of_the_table_can_be_encoded_with_its_schema() -> None:
    cells = odd_table()
    schema = infer_schema(cells, "test").schema
    rows = cells.rename(columns={schema.column(name): name for name in schema.names})
    for row in rows[schema.names].to_dict("records"):
        labels, issues = encode(schema, row)
        assert issues == []
        for name in schema.names:
            assert (labels[schema.slices[name]] == 1).any() == (not schema.is_missing(row[name]))


def test_the_file_lists_reasons_in_its_header_and_counts_beside_attributes() -> None:
    text = infer(60, fit=["slim", "loose", ""], price=[str(i) for i in range(60)]).to_yaml()
    assert "# - price: numbers: 60 distinct values in 60 filled cells" in text
    assert "- name: fit  # 66.7 % filled, 2 values" in text


def test_a_share_is_only_100_percent_if_every_cell_is_filled() -> None:
    fit = ["slim", "loose"] * 1499 + ["slim", ""]
    assert "- name: fit  # 99.9 % filled" in infer(3000, fit=fit).to_yaml()


def test_the_work_depends_on_distinct_cells_not_on_rows(monkeypatch) -> None:
    folded: list[str] = []

    def counted(text: str) -> str:
        folded.append(text)
        return fold(text)

    monkeypatch.setattr("attr_extractor.catalogue.columns.fold", counted)
    calls = []
    for n in (10_000, 100_000):  # rows of twelve columns
        number = np.arange(n)
        words = np.array(["red", "blue", "Blue", "", "n/a", "red|blue"], dtype=object)
        columns = {f"c{k}": words[(number // (k + 1)) % 6].tolist() for k in range(8)}
        columns["title"] = [f"thing {i}" for i in number]
        folded.clear()
        draft = infer(n, **columns)
        assert len(draft.schema.attributes) == 9
        calls.append(len(folded))
    assert 0 < calls[1] <= calls[0] + 10


# Bad input


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (table(9, fit=["a", "b"]).drop(columns="image"), "no column contains photos"),
        (table(9, fit=["a", "b"]).drop(columns="product_id"), "no column identifies the products"),
        (table(9)[["product_id", "image"]], "no column is an attribute"),
        (table(9, color=["a|b", "b"]).drop(columns="category"), "name it with --category"),
    ],
)
def test_a_table_without_ids_photos_or_attributes_raises(cells: pd.DataFrame, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        infer_schema(cells, "test", origin="my.csv")
    assert str(caught.value).startswith("my.csv: ")


def test_an_unknown_category_column_raises_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'category'"):
        infer_schema(table(9, fit=["a", "b"]), "test", "categori")
    with pytest.raises(InputError, match="'product_id' is not a column"):
        infer_schema(table(9, fit=["a", "b"]), "test", "product_id")


def test_the_program_writes_a_schema_and_prints_a_summary(tmp_path: Path) -> None:
    catalogue, output = tmp_path / "t.csv", tmp_path / "shop.yaml"
    cells = table(60, fit=["slim", "loose|slim"], price=[str(i) for i in range(60)])
    cells.to_csv(catalogue, index=False)
    result = run_tool("infer_schema", "--catalogue", catalogue, "--output", output)
    assert result.returncode == 0, result.stderr
    schema = Schema.read(output)
    assert (schema.name, schema.names) == ("shop", ["category", "fit"])
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["fit", "fit", "2", "100.0", "%", "several"] in rows
    assert "left out: price: numbers" in result.stdout


def test_a_table_gives_the_same_draft_in_every_format(tmp_path: Path) -> None:
    cells = odd_table()
    cells.to_csv(tmp_path / "t.csv", index=False)
    cells.to_parquet(tmp_path / "t.parquet")
    cells.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    expected = infer_schema(cells, "t")
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        draft = infer_schema(read_columns(tmp_path / name), "t")
        assert (draft.to_yaml(), draft.summary()) == (expected.to_yaml(), expected.summary())


def test_the_program_reports_bad_input_in_one_line(tmp_path: Path) -> None:
    output = tmp_path / "out.yaml"

    def require_refused(catalogue: Path, *words: str, output: Path = output) -> None:
        flags = (f"--catalogue={catalogue}", f"--output={output}")
        require_bad_input(run_tool("infer_schema", *flags), *words)

    def catalogue(name: str, cells: pd.DataFrame) -> Path:
        cells.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    require_refused(tmp_path / "no.csv", "no.csv")
    good = table(9, fit=["a", "b"])
    require_refused(catalogue("no_image.csv", good.drop(columns="image")), "no_image", "photos")
    require_refused(catalogue("bare.csv", good[["product_id", "image"]]), "bare", "attribute")
    assert not output.exists()

    fine = catalogue("good.csv", good)
    require_refused(fine, "does not exist", output=tmp_path / "no" / "folder.yaml")
    output.write_text("mine", encoding="utf-8")
    require_refused(fine, "exists already")
    assert output.read_text(encoding="utf-8") == "mine"


# Real catalogues, read where they are

REAL_CATALOGUES = {
    "clothing_attributes": ("category", 11, {"color", "pattern"}, set()),
    "fashion_products": ("article_type", 7, set(), set()),
    "worn_clothes_cc0": ("label", 2, set(), {"seller"}),
}


@pytest.mark.parametrize("folder", REAL_CATALOGUES)
def test_schemas_of_real_catalogues(folder: str, real_data: Path) -> None:
    path = real_data / folder / "catalogue.csv"
    category, attributes, several, left_out = REAL_CATALOGUES[folder]
    draft = infer_schema(pd.read_csv(path, dtype=str, keep_default_na=False), folder)
    assert draft.schema.category == category
    assert len(draft.schema.attributes) == attributes
    assert {a.name for a in draft.schema.attributes if not a.exclusive} == several
    assert set(draft.left_out) == left_out
    assert Schema.parse(draft.to_yaml(), folder) == draft.schema


# Wide tables


class Counting(set):
    """A set that counts its membership tests."""

    asked = 0

    def __contains__(self, item: object) -> bool:
        self.asked += 1
        return super().__contains__(item)


def test_unique_identifiers_need_few_lookups_per_column():
    columns = [chr(0x4E00 + i) for i in range(5000)]  # no letter that an identifier may have
    taken = Counting(columns)
    names = identifiers(columns, taken)
    assert len(set(names.values())) == 5000
    assert taken.asked <= 3 * 5000  # one by one from the first: 12.5 million


class CountingList(list):
    """A list that counts how often it is searched from end to end."""

    searches = 0

    def count(self, item: object) -> int:
        self.searches += 1
        return super().count(item)

    def __contains__(self, item: object) -> bool:
        self.searches += 1
        return super().__contains__(item)


def test_reading_a_wide_header_searches_it_at_most_twice():
    header = CountingList(["product_id", "image", *(f"c{i}" for i in range(5000))])
    assert _names("wide.csv", header, None, True) == header
    assert header.searches <= 2


@pytest.mark.slow
def test_fifty_thousand_columns_make_a_schema(tmp_path: Path):
    width, rows = 50_000, 6
    lines = [["product_id", "image", "category", *(f"c {i}" for i in range(width))]]
    for r in range(rows):
        start = [f"p{r}", f"{r}.jpg", ("shirt", "jeans")[r % 2]]
        lines.append([*start, *("ab"[(r + i) % 2] for i in range(width))])
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    draft = infer_schema(read_columns(path), "wide")
    assert len(draft.schema.attributes) == 1 + width
    assert draft.schema.columns[draft.schema.attributes[-1].name] == f"c {width - 1}"
