"""Known cells and texts beside the photo: from a table to answers, and what must not change."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

import attr_extractor as ax
from attr_extractor.catalogue import texts
from attr_extractor.config import Config
from attr_extractor.enrichment.fill import predict
from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, context, evaluate, predictions
from attr_extractor.evaluation.explain import explain_photos
from attr_extractor.evaluation.explain.told import Told as Said
from attr_extractor.evaluation.explain.told import as_text
from attr_extractor.records import builder, check, plan, relabel, words
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.serving import export, model_dir
from attr_extractor.serving.client import Client
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir
from tests.conftest import CONFIG, SCHEMA, require_bad_input, run_tool, write_table
from tests.records.by_hand import InProcess, read_split
from tests.serving.running import running

OPTIONS = plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2))
CONTEXT = ["model.context.known=true", "model.context.text=true"]
# the shop has few steps an epoch for the evidence, and the best epoch is that of the photo alone
CONTEXT += ["train.epochs=40", "train.context_rate=20", "train.keep=last"]


class Told(NamedTuple):
    """A shop whose titles name the colours; the closure follows from the category."""

    catalogue: Path
    images: Path
    records: Path
    run: Path
    model: Path


def titled(rows: list[dict[str, str]], colors: list[str]) -> list[dict[str, str]]:
    said = [" and ".join(cell.split("|")) or "plain" for cell in colors]
    return [{**row, "title": f"N° {i}: Élan, {said[i].upper()}"} for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def told(shop, tmp_path_factory) -> Told:
    folder = tmp_path_factory.mktemp("told")
    rows = ax_rows(shop.catalogue)
    catalogue = write_table(folder / "table.csv", titled(rows, [r["color"] for r in rows]))
    schema = Schema.parse(SCHEMA + "text: [title]\n", "test")
    made = Told(catalogue, shop.path, folder / "records", folder / "run", folder / "model")
    builder.build(catalogue, schema, made.records, shop.path, OPTIONS, InProcess())
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    fit.train(Config.read(folder / "config.yaml", CONTEXT), made.records, made.run)
    calibrate.calibrate(made.run)
    export.export(made.run, made.model)
    return made


def ax_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_texts_are_in_the_records_and_relabelling_replaces_them(told, tmp_path):
    titles = {row["product_id"]: row["title"] for row in ax_rows(told.catalogue)}
    examples = [e for split in ("train", "test") for e in read_split(told.records, split)]
    assert all(e["text"].decode() == titles[e["product_id"].decode()] for e in examples)
    copy = Path(shutil.copytree(told.records, tmp_path / "records"))
    changed = [{**row, "title": row["title"] + "\n new"} for row in ax_rows(told.catalogue)]
    table = write_table(tmp_path / "new.csv", changed)
    schema = Manifest.read(copy).schema
    relabel.relabel(table, schema, copy, InProcess())
    for example in read_split(copy, "train"):
        product = example["product_id"].decode()
        assert example["text"].decode() == f"{titles[product]} new"
    assert not check.check(copy).problems


def test_records_without_text_gain_it_by_relabelling(built, told, tmp_path):
    copy = Path(shutil.copytree(built.records, tmp_path / "records"))
    assert "text" not in read_split(copy, "train")[0]
    schema = Schema.parse(SCHEMA + "text: [title]\n", "test")
    with pytest.raises(InputError, match="run with --relabel"):
        builder.build(told.catalogue, schema, copy, told.images, OPTIONS, InProcess())
    relabel.relabel(told.catalogue, schema, copy, InProcess())

    def by_key(records):
        examples = read_split(records, "train")
        return {(e["product_id"], e["image/index"]): e for e in examples}

    assert by_key(copy) == by_key(told.records)


def test_a_text_is_cut_and_a_missing_column_is_named(told, tmp_path):
    assert len(texts.join(["a " * 10_000, "b"])) <= texts.LONGEST
    assert texts.join([" x \n y ", "", "z"]) == "x y z"
    rows = [{k: v for k, v in r.items() if k != "title"} for r in ax_rows(told.catalogue)]
    table = write_table(tmp_path / "table.csv", rows)
    schema = Manifest.read(told.records).schema
    with pytest.raises(InputError, match="no column 'title'"):
        builder.build(table, schema, tmp_path / "records", told.images, OPTIONS, InProcess())


def test_a_table_to_be_filled_may_lack_text_columns():
    schema = Schema.parse(SCHEMA + "text: [title, brand]\n", "test")
    assert texts.columns(["product_id", "brand"], schema, "t.csv", required=False) == ["brand"]
    assert texts.columns(["product_id"], schema, "t.csv", required=False) == []
    assert texts.columns(["brand", "x", "title"], schema, "t.csv") == ["title", "brand"]
    with pytest.raises(InputError, match=r"t.csv: there is no column 'title'"):
        texts.columns(["brand"], schema, "t.csv")


def test_the_photo_is_answered_as_by_a_network_without_context(told):
    """The paper's network is trained alike, whether or not context is read beside it."""
    config = RunDir.read(told.run).config
    manifest = Manifest.read(told.records)
    plain = config.model.model_copy(update={"context": type(config.model.context)()})
    photo_alone = config.model_copy(update={"model": plain})
    batch = {
        "pixels": tf.random.stateless_uniform([8, 32, 32, 3], [1, 2], 0, 255, tf.int32),
        "labels": tf.zeros([8, manifest.schema.num_values], tf.int8),
        "text": tf.ones([8, words.WORDS, words.PIECES], tf.int32),
    }
    batch["pixels"] = tf.cast(batch["pixels"], tf.uint8)
    trained = []
    for one in (config, photo_alone):
        model = fit.make_model(one, manifest, steps_per_epoch=4)
        for _ in range(3):
            model.train_step(dict(batch))
        trained.append(model.layout.logits(batch["pixels"], training=False).numpy())
    np.testing.assert_allclose(trained[0], trained[1], atol=1e-5)


def test_context_helps_where_it_tells_and_only_there(told):
    score = {}
    for use in (["photo"], ["photo", "known"], ["photo", "text"], ["photo", "known", "text"]):
        measured = evaluate.evaluate(told.run, "test", use=use)
        score[tuple(use[1:])] = {n: a["score"] for n, a in measured["attributes"].items()}
    assert score["text",]["color"] > score[()]["color"]
    assert score["known", "text"]["color"] > score[()]["color"]
    assert score["known",]["closure"] >= score[()]["closure"]
    sections = json.loads((told.run / "metrics.json").read_text(encoding="utf-8"))
    assert {"test", "test_with_known", "test_with_text", "test_with_known_text"} <= sections.keys()
    assert (told.run / "report_test_with_known.html").is_file()


def test_evidence_of_a_split_is_the_networks_with_cells_hidden(told):
    run = RunDir.read(told.run)
    predicted = predictions.predict(run, "test")
    schema, network = run.schema, run.load_network()
    examples = read_split(told.records, "test")
    pieces = words.pieces(tf.constant([e["text"] for e in examples]))
    both = network.evidence({"known": tf.constant(predicted.labels), "text": pieces}).numpy()
    found = context.of_split(predicted, run, None, ["known", "text"])
    np.testing.assert_allclose(found, both, atol=1e-4)
    together = [["category", "closure"]]
    found = context.of_split(predicted, run, None, ["known"], together)
    hidden = predicted.labels.copy()
    for name in together[0]:
        hidden[:, schema.slices[name]] = -1
    nothing = tf.zeros_like(pieces)
    expected = network.evidence({"known": tf.constant(predicted.labels), "text": nothing}).numpy()
    without = network.evidence({"known": tf.constant(hidden), "text": nothing}).numpy()
    for name in together[0]:
        expected[:, schema.slices[name]] = without[:, schema.slices[name]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def request(told, known: list[list[str]], text: list[bytes | str]) -> dict[str, tf.Tensor]:
    model = model_dir.load(told.model)
    photo = (told.images / "images" / "001_0.jpg").read_bytes()
    width = max(map(len, known)) or 1
    return model.signatures["with_context"](
        image_bytes=tf.constant([[photo]] * len(known)),
        known=tf.constant([cells + [""] * (width - len(cells)) for cells in known]),
        text=tf.constant(text),
    )


def test_the_served_answer_without_context_is_that_of_the_photo(told):
    model = model_dir.load(told.model)
    photos = [(told.images / "images" / f"00{i}_0.jpg").read_bytes() for i in (1, 2)]
    files = tf.constant([[photos[0]], [photos[1]]])
    plain = model.signatures["product"](image_bytes=files)
    empty = model.signatures["with_context"](
        image_bytes=files, known=tf.constant([[""]] * 2), text=tf.constant([""] * 2)
    )
    assert plain.keys() == empty.keys()
    for name, values in plain.items():
        assert np.array_equal(values, empty[name]), name


def test_a_bad_cell_is_an_error_of_its_row_alone(told):
    good = (["category=jeans", "closure=zip"], "blue")
    rows = [
        good,
        (["category=trousers"], ""),
        (["category=jeans", "category=shirt"], ""),
        (["made=up", "category=jeans"], ""),
        (["color=red", "color=blue"], "\u202e\u05de\u05db\u05e0\u05e1 😀"),
        (["neck_type=v neck"], "synonym"),
        (["x" * 100_000 + "\n=é"], "long"),
        good,
    ]
    answers = request(told, [row[0] for row in rows], [row[1] for row in rows])
    errors = [error.decode() for error in answers["error"].numpy()]
    assert [bool(error) for error in errors] == [
        False, True, True, True, False, False, True, False,
    ]  # fmt: skip
    assert "category=trousers" in errors[1] and "category" in errors[2] and "made=up" in errors[3]
    assert len(errors[6]) < 200 and "\n" not in errors[6]
    alone = request(told, [good[0]], [good[1]])
    for name in Manifest.read(told.records).schema.names:
        values = answers[name].numpy()
        assert (values[[1, 2, 3, 6]] == b"").all()
        assert (values[[0, 7]] == alone[name].numpy()).all()


def test_a_request_of_very_many_cells_needs_little_memory(told):
    cells = [["category=jeans"] + [""] * 300_000]
    few, many = request(told, [["category=jeans"]], [""]), request(told, cells, [""])
    for name, values in few.items():
        assert np.array_equal(values, many[name])


def test_texts_of_bytes_that_are_no_utf8_and_of_a_megabyte_are_read(told):
    answers = request(told, [[], [], []], [b"\xff\xfe red", b"red " * 250_000, b"red"])
    assert (answers["error"].numpy() == b"").all()
    scores = answers["color_score"].numpy()
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-5)


def grey(told, folder: Path) -> Path:
    """Return the table without colours, on photos that show nothing."""
    Image.new("RGB", (72, 84), "grey").save(folder / "grey.jpg")
    rows = [{**row, "image": "grey.jpg", "color": ""} for row in ax_rows(told.catalogue)]
    return write_table(folder / "grey.csv", rows)


def filled(
    told, table: Path, output: Path, images: Path | None = None, **options
) -> list[dict[str, str]]:
    options = predict.PredictOptions(answer="best", **options)
    predict.predict(told.model, table, output, images or told.images, options)
    return ax_rows(output)


def test_predict_uses_what_the_table_has(told, tmp_path):
    truth, table = ax_rows(told.catalogue), grey(told, tmp_path)

    def right(name: str, **options) -> float:
        rows = filled(told, table, tmp_path / name, tmp_path, **options)
        pairs = [(row["color"], true["color"]) for row, true in zip(rows, truth) if true["color"]]
        return sum(a in b.split("|") for a, b in pairs) / len(pairs)

    photo = right("photo.csv", use=("photo",))
    assert right("all.csv") > photo + 0.2
    assert right("text.csv", use=("photo", "text")) > photo + 0.2


def test_a_cells_confidence_does_not_depend_on_the_cell_itself(told, tmp_path):
    rows = ax_rows(told.catalogue)[:20]
    runs = []
    for closure in ("", "zip"):
        table = write_table(tmp_path / "t.csv", [{**row, "closure": closure} for row in rows])
        output = tmp_path / f"{closure}.csv"
        predict.predict(
            told.model, table, output, told.images, cells_output=tmp_path / f"{closure}.parquet"
        )
        cells = pq.read_table(tmp_path / f"{closure}.parquet").to_pylist()
        runs.append(
            {
                c["product_id"]: dict(zip(c["proposed"], c["proposed_scores"]))
                for c in cells
                if c["attribute"] == "closure"
            }
        )
    for product, scores in runs[0].items():
        assert scores == pytest.approx(runs[1][product], abs=1e-6)


def test_python_and_a_server_answer_as_predict_does(told, tmp_path):
    rows = ax_rows(told.catalogue)[:12]
    table = write_table(tmp_path / "t.csv", [{**row, "color": ""} for row in rows])
    items = [[told.images / path for path in row["image"].split("|")] for row in rows]
    names = ("category", "neck_type", "closure")
    known = [{name: row[name] for name in names if row[name]} for row in rows]
    titles = [row["title"] for row in rows]
    local = filled(told, table, tmp_path / "local.csv")
    by_model = ax.Predictor(told.model).predict(items, known, titles)
    with running(told.model) as server:
        places = f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"
        for number, place in enumerate(places):
            address = f"{place}/{told.model.name}"
            assert filled(told, table, tmp_path / f"{number}.csv", server=address) == local
            by_server = ax.Predictor(address).predict(items, known, titles)
            assert [p.to_dict() for p in by_server] == [p.to_dict() for p in by_model]
            photos = [[path.read_bytes() for path in item] for item in items]
            cells = [[f"{name}={value}" for name, value in each.items()] for each in known]
            answers = Client(place, told.model.name).products(photos, known=cells, texts=titles)
            assert not any(answers["error"])
            for row, prediction in zip(answers["color"], by_model):
                assert list(filter(None, row)) == list(prediction.answers["color"])
    with pytest.raises(InputError, match="texts: it has fewer entries"):
        ax.Predictor(told.model).predict(items, known, titles[:3])
    # predict answers the best value, whatever its score
    for row, prediction in zip(local, by_model):
        assert set(prediction.answers["color"]) <= set(row["color"].split("|"))


def test_an_input_that_the_model_does_not_read_is_refused_in_one_line(told, exported, tmp_path):
    arguments = [f"--catalogue={told.catalogue}", f"--image_root={told.images}"]
    for model, use, words_said in (
        (told.model, "known", "photo must be among them"),
        (told.model, "photo,txt", "did you mean 'text'?"),
        (exported.model, "photo,text", "model.context.text=true"),
    ):
        output = tmp_path / "filled.csv"
        result = run_tool(
            "predict", f"--model={model}", *arguments, f"--output={output}", f"--use={use}"
        )
        require_bad_input(result, words_said)
        assert not output.exists()


def test_clipping_would_change_the_photos_training(told):
    with pytest.raises(InputError, match="clip_norm needs model.context off"):
        Config.read(told.run / "config.yaml", ["train.clip_norm=1.0"])


def test_text_is_not_read_from_records_without_it(built, tmp_path):
    config = Config.read(built.config, ["model.context.text=true"])
    with pytest.raises(InputError, match="names no text column"):
        fit.train(config, built.records, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_weight_of_evidence_is_fitted_in_calibration(told):
    content = json.loads((told.run / "thresholds.json").read_text(encoding="utf-8"))
    trust = {name: of["trust"] for name, of in content["attributes"].items()}
    assert all(0 <= each <= 1.5 for each in trust.values()) and trust["color"] > 0.05
    assert (
        model_dir.describe(told.model).facts.thresholds.attributes["color"].trust == trust["color"]
    )


def test_shares_of_cells_and_words_add_up_to_the_change_of_a_score(told):
    run = RunDir.read(told.run)
    network, schema = run.load_network(), run.schema
    cells, text = {"category": "jeans", "color": "red|blue"}, "Élan zip, red!"
    said = Said(network, cells, text)
    totals = [sum(share.log_odds for share in said.shares(v)) for v in range(schema.num_values)]
    # the photo says half the opposite: a float32 score near 1 would have few digits of its log-odds
    scores = 1 / (1 + np.exp(np.array([totals]) / 2))
    changed = said.in_context(tf.constant(scores, tf.float32)).numpy().astype(np.float64)

    def odds(p: np.ndarray) -> np.ndarray:
        return np.log(p) - np.log1p(-p)

    for v, name in enumerate(schema.value_names):
        shares = said.shares(v)
        assert totals[v] == pytest.approx((odds(changed) - odds(scores))[0, v], abs=2e-3)
        sources = {share.source for share in shares}
        assert {"'elan'", "'zip'", "'red'"} <= sources
        assert ("color=red" in sources) != name.startswith("color=")


def test_cells_say_what_their_best_value_rests_on(told, tmp_path):
    rows = ax_rows(told.catalogue)[:40]
    table = write_table(tmp_path / "t.csv", [{**row, "color": ""} for row in rows])
    run = RunDir.read(told.run)
    network, schema = run.load_network(), run.schema

    def cells_of(name: str, **options) -> list[dict]:
        path = tmp_path / f"{name}.parquet"
        options = predict.PredictOptions(**options)
        output = tmp_path / f"{name}.csv"
        predict.predict(told.model, table, output, told.images, options, path)
        return pq.read_table(path).to_pylist()

    found = cells_of("all")
    assert {"filled", "agreed"} <= {cell["verdict"] for cell in found}
    for cell in found:
        row = rows[cell["row"] - 1]
        known = {
            n: row[n] for n in schema.names if row[n] and n not in ("color", cell["attribute"])
        }
        value = schema.value_names.index(f"{cell['attribute']}={cell['proposed'][0]}")
        shares = Said(network, known, row["title"]).shares(value)
        expected = "" if cell["verdict"] == "agreed" else as_text(shares)
        assert rounded(cell["told_by"]) == pytest.approx(rounded(expected), abs=0.11), cell
    known_alone = cells_of("known", use=("photo", "known"))  # no word outweighs the category
    assert any("category=" in cell["told_by"] for cell in known_alone)
    assert not any(
        "category=" in cell["told_by"] for cell in cells_of("titles", use=("photo", "text"))
    )
    assert not any(cell["told_by"] for cell in cells_of("photo", use=("photo",)))
    with running(told.model) as server:
        for kind, port in (("http", server.port), ("grpc", server.grpc_port)):
            address = f"{kind}://127.0.0.1:{port}/{told.model.name}"
            assert cells_of(kind, server=address) == found


def rounded(text: str) -> dict[str, float]:
    return {s: float(n) for s, _, n in (p.rpartition(" ") for p in filter(None, text.split(", ")))}


def test_the_report_says_what_the_answers_of_its_photos_rest_on(told):
    measured = evaluate.evaluate(told.run, "validation", use=["photo", "text"])
    page = (told.run / measured["report"]).read_text(encoding="utf-8")
    assert "told by &#39;" in page and "told by category=" not in page
    measured = evaluate.evaluate(told.run, "validation")
    assert "told by" not in (told.run / measured["report"]).read_text(encoding="utf-8")


def test_a_share_of_a_cell_with_an_error_is_an_error_of_its_row(told):
    model = model_dir.load(told.model)
    answers = model.signatures["shares"](
        known=tf.constant([["made=up", "category=jeans"], ["category=jeans", ""]]),
        text=tf.constant(["red", "red"]),
        value=tf.constant([[0, -1], [8, -1]]),
    )
    assert [b"made=up" in error for error in answers["error"].numpy()] == [True, False]
    source = answers["source"].numpy()
    assert (source[0] == b"").all() and (source[1, 0, :2] != b"").all()
    assert not answers["log_odds"].numpy()[[0, 0, 1], [0, 1, 1]].any()


def test_explain_says_what_a_score_was_told_by(told, tmp_path):
    photo = told.images / "images" / "001_0.jpg"
    page, _ = explain_photos.explain_photos(
        told.run, [str(photo)], "color", "red", tmp_path, {"category": "jeans"}, "red top"
    )
    assert "told by" in (content := Path(page).read_text(encoding="utf-8"))
    assert "&#39;red&#39; +" in content or "'red' +" in content
    for flag, said in (
        ("--known=colour=red", "no attribute 'colour'"),
        ("--known=color", "attribute=value"),
        ("--known=color=rde", "unknown value"),
    ):
        result = run_tool("explain", f"--run_dir={told.run}", f"--images={photo}", flag)
        require_bad_input(result, said)
