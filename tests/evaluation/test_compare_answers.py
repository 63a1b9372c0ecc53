"""Tests of comparing tables of answers with each other and with a run, on the same rows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_curve

from attr_extractor.enrichment.fill import predict
from attr_extractor.errors import InputError
from attr_extractor.evaluation import compare_answers, evaluate, figures
from attr_extractor.evaluation.compare_answers import TIERS, Tagger, compare
from attr_extractor.records import builder, plan
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.sources.tables import read_sources
from tests.conftest import Shop, require_bad_input, run_tool, shop_rows, write_table
from tests.evaluation.by_hand import predictions_of, usual_of
from tests.records.by_hand import InProcess, labels_of, read_split


@pytest.fixture(scope="module")
def vendor(made_up, schema, tmp_path_factory) -> Path:
    """A table with random answers for four of five products, with confidences."""
    generator = np.random.default_rng(3)
    rows = []
    _, labels, products = made_up
    for product, states in {p: labels[i] for i, p in enumerate(products)}.items():
        for name, where in schema.slices.items():
            values = np.array(schema[name].values)
            if generator.random() < 0.2 or product.endswith("7"):
                continue
            right = values[states[where] == 1].tolist()
            value = "|".join(right) if generator.random() < 0.7 else generator.choice(values)
            if not schema[name].exclusive and value and generator.random() < 0.4:
                value += f"|{generator.choice(values)}"
            sure = (
                generator.uniform(0.6, 1)
                if set(value.split("|")) & set(right)
                else generator.uniform(0, 0.9)
            )
            rows.append(
                {
                    "product_id": product,
                    "attribute": name,
                    "value": value,
                    "confidence": f"{sure:.2f}",
                }
            )
    return write_table(tmp_path_factory.mktemp("tables") / "vendor.csv", rows)


def measured_of(path: Path, made_up, schema, size: int, price: float | None = None):
    (table,) = read_sources(path, schema)
    tagger = Tagger(table.name, schema, table, str(path))
    usual = usual_of(made_up, schema)
    for photos in predictions_of(made_up).blocks(size):
        block = compare_answers._Block(photos)
        tagger.add(block, usual, figures.bootstrap_weights(photos.product_ids))
    return tagger.result(price)


@pytest.mark.parametrize("samples", ["made_up", "partly_missing"])
def test_the_figures_of_a_table_are_those_computed_by_hand(samples, request, vendor, schema):
    made_up = request.getfixturevalue(samples)
    _, labels, products = made_up
    measured = measured_of(vendor, made_up, schema, 23, price=0.5)
    assert measured == measured_of(vendor, made_up, schema, 200, price=0.5)
    cells = {
        (row.product_id, row.attribute): row
        for row in pd.read_csv(vendor, keep_default_na=False).itertuples()
    }
    totals = {"answered": 0, "right": 0}
    for name, where in schema.slices.items():
        values, found = schema[name].values, measured["attributes"][name]
        scores, values_scores, applies, said, flat = [], [], [], [], []
        answered_known = right = 0
        for product, states in zip(products, labels[:, where]):
            row = cells.get((product, name))
            given = {v for v in row.value.split("|") if v} if row else set()
            truth = {values[v] for v in np.flatnonzero(states == 1)}
            judged = given - {values[v] for v in np.flatnonzero(states == -1)}
            for value, state in zip(values, states):
                if state != -1:
                    flat.append((state, row.confidence if value in given else 0.0))
            if (states == -1).all():
                continue
            score = len(judged & truth) / len(judged | truth) if judged | truth else 1.0
            scores.append(score)
            applies.append(bool(truth))
            said.append(bool(given))
            if truth and judged:
                values_scores.append(score)
            answered_known += row is not None
            right += row is not None and score == 1
        assert found["score_all"] == pytest.approx(np.mean(scores), abs=1e-5)
        assert found["score"] == pytest.approx(np.mean(np.array(scores)[applies]), abs=1e-5)
        assert found["coverage"] == pytest.approx(np.mean(np.array(said)[applies]), abs=1e-5)
        assert found["answered_accuracy"] == pytest.approx(np.mean(values_scores), abs=1e-5)
        for key, of_sklearn in (
            ("applies_accuracy", accuracy_score),
            ("applies_balanced_accuracy", balanced_accuracy_score),
        ):
            assert found[key] == pytest.approx(of_sklearn(applies, said), abs=1e-5)
        precision, recall, cut_offs = precision_recall_curve(*zip(*flat))
        reached = (precision[:-1] >= 0.9) & (cut_offs > 0)
        assert 0 < recall[:-1][reached].max() < 1
        expected = pytest.approx(recall[:-1][reached].max(), abs=1e-5)
        assert found["recall_at_90_precision"] == expected
        assert (found["answered_known"], found["right"]) == (answered_known, right)
        assert found["cost_per_right_cell"] == pytest.approx(0.5 * answered_known / right)
        totals["answered"] += answered_known
        totals["right"] += right
    mean = measured["mean"]
    for key in (*TIERS, "score", "coverage", "recall_at_90_precision"):
        of_attributes = [a[key] for a in measured["attributes"].values()]
        assert mean[key] == pytest.approx(np.mean(of_attributes), abs=2e-5)
    cost = 0.5 * totals["answered"] / totals["right"]
    assert mean["cost_per_right_cell"] == pytest.approx(cost)
    with_answer = {product for product, _ in cells}
    assert measured["products_answered"] == len(with_answer)


def test_an_answer_of_no_value_is_right_where_the_attribute_does_not_apply(made_up, schema):
    states = np.full([2, schema.num_values], -1, np.int8)
    states[0] = 0  # no attribute has a value
    answered = compare_answers.answered_of(states, np.full(states.shape, np.nan), schema)
    assert not answered.chosen.any() and not answered.best.any() and not answered.scores.any()


def test_the_best_value_is_the_most_confident_one_that_was_answered(schema):
    where = schema.slices["color"]
    states, confidence = (
        np.zeros([1, schema.num_values], np.int8),
        np.full([1, schema.num_values], np.nan, np.float32),
    )
    states[0, where] = [0, 1, 1]
    confidence[0, where] = [np.nan, 0.0, 0.3]
    answered = compare_answers.answered_of(states, confidence, schema)
    assert answered.best[0, where].tolist() == [False, False, True]
    confidence[0, where] = [np.nan, 0.0, 0.0]
    answered = compare_answers.answered_of(states, confidence, schema)
    assert answered.best[0, where].tolist() == [False, True, False]


@pytest.fixture(scope="module")
def single(exported, tmp_path_factory) -> Shop:
    """Other records of the same schema with one photo per product, all in the test split."""
    made = Shop(tmp_path_factory.mktemp("single"))
    rows = [{**row, "image": row["image"].split("|")[0]} for row in shop_rows(made.path, 60)]
    write_table(made.catalogue, rows)
    empty = [{"product_id": row["product_id"], "image": row["image"]} for row in rows]
    write_table(made.path / "empty.csv", empty)
    schema = Manifest.load(exported.records).schema
    options = plan.BuildOptions(image_size=64, shards=2, split_fractions=(0.2, 0.0, 0.8))
    builder.build(made.catalogue, schema, made.records, options=options, runner=InProcess())
    unwanted = shutil.ignore_patterns("checkpoints", "logs")
    shutil.copytree(exported.run, made.run, ignore=unwanted)
    predict.predict(exported.model, made.path / "empty.csv", made.path / "own.csv")
    return made


def test_the_runs_own_answers_in_a_table_score_like_the_run(single):
    compared = compare([single.path / "own.csv"], run_dir=single.run, records=single.records)
    run, own = compared["taggers"]
    assert (run["name"], run["kind"], own["name"], own["kind"]) == ("test", "run", "own", "table")
    evaluated = evaluate.evaluate(single.run, records=single.records)
    assert 0.2 < run["mean"]["score"] < 1
    exact = (*TIERS, "score", "interval", "coverage", "exact_match", "micro_f1", "macro_f1")
    for one, other, whole in (
        (run["mean"], own["mean"], evaluated["mean"]),
        *zip(*(each["attributes"].values() for each in (run, own, evaluated))),
    ):
        for key in exact:
            assert one[key] == other[key] == whole[key], key
    for block in (own["difference"]["mean"], *own["difference"]["attributes"].values()):
        for prefix in ("", "score_all_", "applies_accuracy_", "answered_accuracy_"):
            assert block[f"{prefix}difference"] in (0, None)
            assert block[f"{prefix}difference_interval"] in ([0, 0], None)


def test_a_table_has_the_same_figures_with_and_without_a_run(single, tmp_path):
    own = single.path / "own.csv"
    beside = compare([own], run_dir=single.run, records=single.records)["taggers"][1]
    (alone,) = compare([own], records=single.records, output_dir=tmp_path / "out")["taggers"]
    assert alone == {key: beside[key] for key in alone}
    assert json.loads((tmp_path / "out" / "answers_test.json").read_text())["taggers"] == [alone]
    assert "own" in (tmp_path / "out" / "answers_test.html").read_text()


def test_every_photo_of_a_product_gets_the_answer_of_the_product(built, tmp_path):
    """The shop has products with two photos; the seller's own cells are right on all photos."""
    more = {"split": "train", "records": built.records, "output_dir": tmp_path}
    (seller,) = compare([built.catalogue], **more)["taggers"]
    examples = read_split(built.records, "train")
    labels = labels_of(examples)
    assert seller["products_answered"] == len({e["product_id"] for e in examples}) < len(examples)
    for name, where in Schema.read(built.schema_file).slices.items():
        attribute = seller["attributes"][name]
        assert attribute["known"] == (labels[:, where] != -1).any(axis=1).sum()
        assert attribute["applicable"] == (labels[:, where] == 1).any(axis=1).sum()
        assert attribute["score"] == attribute["score_all"] == attribute["coverage"] == 1
        assert attribute["applies_accuracy"] == 1
    # an empty cell is no answer, so cells that do not apply were not paid for
    neck = seller["attributes"]["neck_type"]
    assert neck["answered_known"] == neck["applicable"] < neck["known"]


def test_the_program_shows_tiers_costs_and_photos_that_differ(single, tmp_path):
    rows = pd.read_csv(single.catalogue, dtype=str, keep_default_na=False)
    wrong = rows.drop(columns="image").assign(
        category="jeans", neck_type="polo", color="<b>red</b>"
    )
    wrong.to_csv(tmp_path / "vendor.csv", index=False)
    result = run_tool(
        "evaluate",
        f"--run_dir={single.run}",
        f"--records={single.records}",
        f"--answers={tmp_path / 'vendor.csv'}",
        f"--answers={single.catalogue}",
        "--price=vendor=0.01",
    )
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()}
    assert lines["catalogue"][1] == "1.000" and lines["catalogue"][-1] == "-"
    assert lines["vendor"][-2] == "120"  # two attributes of 60 products are unknown values
    assert float(lines["vendor"][-1]) > 0.01
    assert max(map(len, result.stdout.splitlines()[:6])) <= 100
    page = Path(re.search(r"comparison: (\S+);", result.stdout).group(1)).read_text()
    figures_path = re.search(r"figures: (\S+)", result.stdout).group(1)
    vendor = json.loads(Path(figures_path).read_text())["taggers"][1]
    assert vendor["cells_not_used"] == {"unknown value": 120}
    assert {(i["attribute"], i["value"], i["count"]) for i in vendor["issues"]} == {
        ("neck_type", "polo", 60),
        ("color", "<b>red</b>", 60),
    }
    assert "<b>red" not in page and "&lt;b&gt;red" in page
    photos = page.split('<div class="compared">')[1:]
    assert 1 < len(photos) <= 36
    assert all("data:image/jpeg;base64," in photo for photo in photos)
    by_product = rows.set_index("product_id").category.to_dict()
    for photo in photos:
        product = re.search(r"<figcaption>(.*?)</figcaption>", photo).group(1)
        cells = re.search(r"<td>category</td><td>(.*?)</td>", photo)
        assert cells is None or cells.group(1) == by_product[product]
    assert any("✗ jeans" in photo and "✓ shirt" in photo for photo in photos)


def test_taggers_of_one_name_and_prices_without_a_tagger_are_bad_input(built, tmp_path):
    more = {"records": built.records, "output_dir": tmp_path / "out"}
    with pytest.raises(InputError, match=r"the source 'catalogue' is also that of .*rename"):
        compare([built.catalogue, built.catalogue], **more)
    with pytest.raises(InputError, match=r"there is no tagger 'catalog'; did you mean 'catalogue"):
        compare([built.catalogue], prices={"catalog": 1.0}, **more)
    with pytest.raises(InputError, match=r"there is no split 'tset'; did you mean 'test'"):
        compare([built.catalogue], split="tset", **more)
    with pytest.raises(InputError, match=r"name a run, or records and an output folder"):
        compare([built.catalogue], records=built.records)
    with pytest.raises(InputError, match=r"no table of answers given"):
        compare([], **more)
    for text in ("vendor", "vendor=cheap", "=1", "vendor=-1", "vendor=inf", "vendor=nan"):
        with pytest.raises(InputError, match=re.escape(f"--price={text}: expected NAME=NUMBER")):
            compare_answers.prices_of([text])
    assert compare_answers.prices_of(["a=b=0.002"]) == {"a=b": 0.002}
    assert not (tmp_path / "out" / "answers_test.json").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--run_dir is missing"),
        (["--run_dir=x", "--price=a=1"], "--price and --output_dir require --answers"),
        (["--run_dir=x", "--answers=a.csv", "--require=mean.score>=1"], "cannot be combined"),
        (["--run_dir=x", "--answers=a.csv", "--output_dir=y"], "drop one of both"),
        (["--records=x", "--answers=a.csv"], "name a run, or records and an output folder"),
    ],
)
def test_flags_that_do_not_belong_together_are_bad_input(arguments, message):
    require_bad_input(run_tool("evaluate", *arguments), message)
