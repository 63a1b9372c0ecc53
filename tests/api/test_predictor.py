"""Tests of `Predictor`: the answers of predict for the same photos, in every form of a photo."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import attr_extractor as ax
from attr_extractor.api.predictor import Predictor
from attr_extractor.enrichment import scoring
from attr_extractor.enrichment.fill import predict
from attr_extractor.errors import InputError
from tests.conftest import ROOT, write_table
from tests.serving.running import running


@pytest.fixture(scope="module")
def predictor(exported) -> Predictor:
    return Predictor(exported.model)


@pytest.fixture(scope="module")
def paths(exported) -> list[str]:
    return sorted(str(path) for path in (exported.path).rglob("*.jpg"))[:40]


def test_answers_equal_those_of_predict_on_a_table_without_cells(
    predictor, exported, paths, tmp_path
):
    products = [paths[:1], *([path] for path in paths[1:35]), paths[35:38]]
    table = write_table(
        tmp_path / "new.csv",
        [{"product_id": str(i), "image": "|".join(each)} for i, each in enumerate(products)],
    )
    predict.predict(exported.model, table, tmp_path / "filled.csv", "/", predict.PredictOptions())
    with open(tmp_path / "filled.csv", encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    frame = predictor.predict(products).to_frame()
    schema = predictor.schema
    for name in schema.names:
        assert frame[name].tolist() == [row[schema.column(name)] for row in expected]
    assert frame["error"].tolist() == [row["error"] for row in expected]


def test_every_form_of_a_photo_has_the_same_answers(predictor, paths):
    content = Path(paths[0]).read_bytes()
    expected = predictor.predict(paths[0])
    assert predictor.predict([content]) == expected
    assert predictor.predict([[paths[0]]]) == expected
    small = Image.fromarray(np.full([40, 30, 3], 200, np.uint8))
    pixels, picture = predictor.predict([np.asarray(small), small])
    assert pixels == picture


def test_an_unreadable_photo_is_an_error_of_its_own_item(predictor, paths, tmp_path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no photo")
    arrays = [
        np.zeros([2, 2], np.float32),
        np.zeros([0, 5, 3], np.uint8),
        np.zeros([4, 4, 7], np.uint8),
    ]
    others = ["bad\0name.jpg", str(tmp_path), Image.new("F", [4, 4])]
    items = [paths[0], str(damaged), "gone.jpg", b"", 7, [], *arrays, *others, paths[1]]
    found = predictor.predict(items)
    assert [bool(each.error) for each in found] == [False, *[True] * 11, False]
    assert found[0] == predictor.predict(paths[0])[0]
    assert found[12] == predictor.predict(paths[1])[0]
    assert not any(found[2].answers.values())
    assert "gone.jpg" in found[2].error and "int is neither" in found[4].error


def test_known_cells_are_kept_and_the_category_limits_the_answers(predictor, paths):
    schema = predictor.schema
    for category in schema[schema.category].values:
        (found,) = predictor.predict(paths[0], [{schema.category: category}])
        assert list(found.answers[schema.category]) == [category]
        row = schema.allowed[schema[schema.category].values.index(category)]
        for name, where in schema.slices.items():
            allowed = {v for v, ok in zip(schema[name].values, row[where]) if ok}
            assert set(found.answers[name]) <= allowed


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ([{"colour": "red"}], "known: there is no attribute 'colour'; did you mean 'color'?"),
        ([{"color": "rad"}], "known: color: 'rad': unknown value; did you mean 'red'?"),
        ([{"color": None}], "known: color: write the cell as text, not None"),
        ([{"neck_type": "v-neck|round neck"}], "several values of an exclusive attribute"),
        ([], "fewer entries"),
        ([{}, {}], "more entries"),
    ],
)
def test_invalid_known_cells_raise_one_line(predictor, paths, known, words):
    with pytest.raises(InputError) as raised:
        predictor.predict(paths[0], known)
    assert words in str(raised.value)


def test_a_stream_reads_only_a_few_batches_ahead(predictor, paths):
    taken = itertools.count()
    endless = (paths[next(taken) % 5] for _ in itertools.count())
    answers = predictor.stream(endless)
    first = [next(answers) for _ in range(10)]
    ahead = scoring.READ_AHEAD + scoring.SCORED_AT_ONCE + 2
    assert next(taken) <= ahead * scoring.BATCH
    assert first[:5] == first[5:] == list(predictor.predict(paths[:5]))


def test_a_notebook_shows_a_table_of_escaped_text(predictor, tmp_path):
    evil = tmp_path / "<b>.jpg"
    text = predictor.predict([evil])._repr_html_()
    assert "&lt;b&gt;.jpg" in text and "<b>" not in text
    assert predictor.predict([])._repr_html_().count("<tr>") == 1


def test_a_servers_address_is_enough(exported, predictor, paths):
    pytest.importorskip("tensorflow_serving")
    items, known = [paths[0], paths[1:3]], [{"category": "jeans"}, {}]
    expected = predictor.predict(items, known)
    with running(exported.model) as server:
        for place in (f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"):
            remote = Predictor(f"{place}/{exported.model.name}")
            assert remote.schema == predictor.schema
            for found, wanted in zip(remote.predict(items, known), expected):
                assert found.error == wanted.error
                assert found.answers.keys() == wanted.answers.keys()
                for name, values in wanted.answers.items():
                    assert list(found.answers[name]) == list(values)
                    np.testing.assert_allclose(
                        list(found.answers[name].values()), list(values.values()), atol=1e-5
                    )
            with pytest.raises(InputError, match="other"):
                Predictor(f"{place}/other")
    with pytest.raises(InputError, match="grpc://HOST:PORT/MODEL"):
        Predictor("grpc://localhost")


def test_a_server_of_an_older_export_is_an_error(exported, tmp_path):
    pytest.importorskip("tensorflow_serving")
    loaded = tf.saved_model.load(str(exported.model / "1"))
    signatures = {name: loaded.signatures[name] for name in ("serving_default", "scores")}
    tf.saved_model.save(loaded, str(tmp_path / "model" / "1"), signatures=signatures)
    older = pytest.raises(InputError, match="older release.*export it again")
    with running(tmp_path / "model") as server, older:
        Predictor(f"http://127.0.0.1:{server.port}/model")


def test_a_folder_without_a_model_is_an_error(exported, tmp_path):
    for folder in (tmp_path, tmp_path / "missing", exported.run):
        with pytest.raises(InputError, match="not a SavedModel: saved_model.pb is missing"):
            Predictor(folder)


def test_public_names_are_loaded_on_first_use():
    script = (
        "import sys, attr_extractor as ax; assert 'tensorflow' not in sys.modules; "
        "ax.Schema, ax.Config; assert 'tensorflow' not in sys.modules; "
        "assert 'Predictor' in dir(ax); print(ax.Predictor.__name__, ax.build_records.__name__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout == "Predictor build_records\n"
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        ax.Predicter  # noqa: B018
