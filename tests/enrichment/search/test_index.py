"""Tests of `search/index.py`, `search/query.py` and `tools/search.py`."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from attr_extractor.enrichment.search import build, query, vectors
from attr_extractor.enrichment.search import index as index_folder
from attr_extractor.enrichment.search.index import Filter, Index
from attr_extractor.errors import InputError
from attr_extractor.serving import model_dir
from tests.conftest import require_bad_input, run_tool


@pytest.fixture(scope="module")
def index(exported, indexed) -> Index:
    return Index(indexed, model_dir.describe(exported.model))


@pytest.fixture(scope="module")
def brute(indexed):
    """Nearest products, computed with NumPy and pandas."""
    table = pd.read_parquet(indexed / index_folder.PHOTOS)
    data = vectors.read(indexed / index_folder.VECTORS).reconstruct_n(0, len(table))

    def nearest(query: np.ndarray, keep: np.ndarray) -> pd.DataFrame:
        found = table.assign(similarity=data @ query)[keep]
        found = found.sort_values("similarity", ascending=False, kind="stable")
        return found.drop_duplicates(index_folder.PRODUCT)

    return table, data, nearest


def test_each_product_is_ranked_once_by_its_nearest_photo(index, brute):
    table, data, nearest = brute
    assert table[index_folder.PRODUCT].duplicated().sum() > 10  # otherwise the test has no effect
    for number in range(0, len(table), 11):
        expected = nearest(data[number], np.ones(len(table), bool)).head(10)
        hits = index.nearest(data[number], 10)
        similar = [hit.similarity for hit in hits]
        np.testing.assert_allclose(similar, expected["similarity"], atol=1e-5)
        assert similar == sorted(similar, reverse=True)
        assert len({hit.product_id for hit in hits}) == 10
        for hit in hits:  # equally near products may be in any order
            best = table.assign(s=data @ data[number]).groupby(index_folder.PRODUCT)["s"].max()
            assert hit.similarity == pytest.approx(best[hit.product_id], abs=1e-5)
            assert table[index_folder.IMAGE][hit.photo] == hit.image


@pytest.mark.parametrize("cells", [False, True])
def test_a_filter_is_exact_and_complete(index, brute, exported, tmp_path, monkeypatch, cells):
    table, data, nearest = brute
    if cells:  # few cells, of which the first search probes one
        monkeypatch.setattr(vectors, "EXACT_UP_TO", 1)
        monkeypatch.setattr(vectors, "SAMPLE_PER_CELL", 10)
        monkeypatch.setattr(vectors, "PROBES", 1)
        catalogue = exported.path / "catalogue.csv"
        build.build(exported.model, catalogue, tmp_path / "index", exported.path)
        index = Index(tmp_path / "index", model_dir.describe(exported.model))
        assert index.facts.kind == vectors.CELLS
        table = pd.read_parquet(tmp_path / "index" / index_folder.PHOTOS)
    has_red = table["seller.color"].str.split("|").map(lambda values: "red" in values)
    keep = has_red & (table["seller.neck_type"] != "v-neck")
    chosen = [Filter.parse(text, index.schema) for text in ["color=red", "neck_type!=v-neck"]]
    products = set(table[index_folder.PRODUCT][keep])
    hits = index.nearest(data[3], 10_000, chosen)
    assert {hit.product_id for hit in hits} == products and 10 < len(products) < 60
    assert len(index.nearest(data[3], len(products) - 1, chosen)) == len(products) - 1
    if not cells:
        similar = [hit.similarity for hit in hits]
        np.testing.assert_allclose(similar, nearest(data[3], keep)["similarity"], atol=1e-5)
    both = [Filter.parse(text, index.schema) for text in ["color=red", "color!=red"]]
    assert index.nearest(data[3], 10, both) == []


def test_a_product_can_be_excluded(index):
    number = index.photo_of("p020")
    query = index.vector(number)
    assert index.nearest(query, 1)[0].similarity == pytest.approx(1, abs=1e-5)
    hits = index.nearest(query, 500, without="p020")
    assert "p020" not in {hit.product_id for hit in hits}
    assert len(hits) == len(index.nearest(query, 500)) - 1
    assert index.photo_of("nobody") is None


def test_the_program_prints_the_nearest_products(exported, indexed, index):
    photo = exported.path / "images" / "020_0.jpg"
    flags = [f"--index={indexed}", f"--model={exported.model}", f"--photo={photo}", "--count=5"]
    filters = ["color=red", "neck_type!=v-neck"]
    result = run_tool("search", *flags, *(f"--filter={text}" for text in filters))
    assert result.returncode == 0, result.stderr
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["rank", "product_id", "similarity", "image", "color", "neck_type"]
    assert [line[0] for line in lines] == list("12345")
    assert all("red" in line[4] and line[5] != "v-neck" for line in lines)
    hits = index.nearest(index.vector(index.photo_of("p020")), 1)
    nearest = query.as_text(hits, []).splitlines()[1].split("\t")
    assert nearest == ["1", "p020", "1.0000", "images/020_0.jpg"]


def test_invalid_input_is_refused(exported, indexed, tmp_path):
    photo = exported.path / "images" / "020_0.jpg"
    with pytest.raises(InputError, match="no attribute 'colour'; did you mean 'color'"):
        query.nearest_as_text(indexed, exported.model, photo, 10, ["colour=red"])
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match="a.jpg: the photo cannot be read: not an image"):
        query.nearest_as_text(indexed, exported.model, tmp_path / "a.jpg")
    result = run_tool("search", f"--index={indexed}", f"--model={exported.model}")
    require_bad_input(result, "pass exactly one of --photo, --port and --measure")


def copied(indexed, tmp_path, **changes):
    path = tmp_path / "copy"
    shutil.copytree(indexed, path)
    facts = json.loads((path / index_folder.FACTS).read_text(encoding="utf-8"))
    (path / index_folder.FACTS).write_text(json.dumps({**facts, **changes}), encoding="utf-8")
    return path


def test_an_index_of_another_model_is_refused(exported, indexed, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(exported.model, model)
    (weights,) = (model / "1" / "variables").glob("variables.data*")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="built with another model"):
        Index(indexed, model_dir.describe(model))
    described = model_dir.describe(exported.model)
    with pytest.raises(InputError, match="made with another schema"):
        Index(copied(indexed, tmp_path, fingerprint="0" * 16), described)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (index_folder.VECTORS, "incomplete"),
        (index_folder.FACTS, "index.json is missing"),
        (index_folder.PHOTOS, "Parq"),
    ],
)
def test_an_incomplete_index_is_refused(exported, indexed, tmp_path, name, words):
    path = copied(indexed, tmp_path)
    if name == index_folder.FACTS:
        (path / name).unlink()
    else:
        (path / name).write_bytes((path / name).read_bytes()[:-100])
    with pytest.raises(InputError, match=words):
        Index(path, model_dir.describe(exported.model))


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("color=red", ["red", "green|red"], ["", "green", None]),
        ("color!=red", ["", "green", None], ["red", "green|red"]),
        ("color=red|blue", ["red", "blue", "green|blue"], ["green", ""]),
        ("color!=red|blue", ["green", ""], ["red", "green|blue"]),
        ("neck_type = V Neck", ["v-neck"], ["round neck", ""]),  # a synonym in another case
    ],
)
def test_a_filter_matches_the_sellers_values(schema, text, matching, others):
    condition = Filter.parse(text, schema)
    assert [condition.matches(cell) for cell in matching] == [True] * len(matching)
    assert [condition.matches(cell) for cell in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour=red", "there is no attribute 'colour'; did you mean 'color'?"),
        ("color=gren", "color has no value 'gren'; did you mean 'green'?"),
        ("color=", "color has no value ''"),
        ("color", "write attribute=value or attribute!=value"),
    ],
)
def test_an_invalid_filter_is_refused_with_the_reason(schema, text, words):
    with pytest.raises(InputError) as caught:
        Filter.parse(text, schema)
    assert words in str(caught.value) and f"--filter={text}" in str(caught.value)
