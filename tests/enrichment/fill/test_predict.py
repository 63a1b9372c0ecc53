"""Tests of enrichment/fill/predict.py: parts, kills, other runners, and the cells file."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import boxes
from attr_extractor.enrichment import cells, scoring
from attr_extractor.enrichment.fill import predict
from attr_extractor.errors import InputError
from attr_extractor.records.runner import Beam
from tests import forked_tools
from tests.conftest import times_of_change, write_table
from tests.serving.running import running

ATTRIBUTES = ["category", "neck_type", "color", "closure"]


def table_of(exported, rows: int) -> list[dict[str, str]]:
    """Return rows with the shop's photos, one in seven missing, and some filled cells."""
    names = sorted(path.name for path in (exported.path / "images").glob("*.jpg"))
    return [
        {
            "product_id": f"p{i}",
            "image": "gone.jpg" if i % 7 == 3 else names[i % len(names)],
            "category": ["shirt", "", "jeans"][i % 3],
            "neck_type": ["v-neck", "", "velvet"][i % 3],
            "color": ["red|blue", ""][i % 2],
            "closure": "",
            "vendor": f"v{i % 2}",
        }
        for i in range(rows)
    ]


@pytest.fixture
def catalogue(exported, tmp_path) -> Path:
    return write_table(tmp_path / "table.csv", table_of(exported, 60))


def run(exported, catalogue, output, **more):
    root = exported.path / "images"
    return predict.predict(exported.model, catalogue, output, root, **more)


def test_parts_give_the_same_files_as_one_part(exported, catalogue, tmp_path, monkeypatch):
    whole = run(exported, catalogue, tmp_path / "a.csv", cells_output=tmp_path / "a.parquet")
    monkeypatch.setattr(
        predict, "ROWS_PER_PART", 32
    )  # a whole batch, so that both runs compute the same matrix products
    parted = run(exported, catalogue, tmp_path / "b.csv", cells_output=tmp_path / "b.parquet")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    a, b = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    pd.testing.assert_frame_equal(a, b)
    assert whole == parted and whole.rows == 60 and whole.rows_with_error == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *["a.csv", "a.parquet", "b.csv", "b.parquet", "table.csv"]
    ]


def test_a_killed_prediction_resumes_and_keeps_its_finished_parts(exported, tmp_path):
    """Kill a process after its second part, then run the same command again."""
    catalogue = write_table(tmp_path / "table.csv", table_of(exported, 600))
    program = (
        "import sys; from attr_extractor.enrichment.fill import predict;"
        "predict.ROWS_PER_PART = 32; predict.predict(*sys.argv[1:5], cells_output=sys.argv[5])"
    )
    output, table_file = tmp_path / "out.csv", tmp_path / "cells.parquet"
    paths = [exported.model, catalogue, output, exported.path / "images", table_file]
    command = (program, [*map(str, paths)], tmp_path)
    process = forked_tools.Program(*command)
    parts = tmp_path / "out.csv.parts"
    deadline = time.monotonic() + 120
    while not len(list(parts.glob("*.counts.json"))) >= 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.counts.json")}
    assert 2 <= len(done) < 19 and not output.exists()
    with open(parts / "000018.filled.csv.0000.tmp", "wb") as file:  # a file that a kill may leave
        file.write(b"half")
    again = forked_tools.Program(*command)
    kept = times_of_change(done, again)
    assert again.returncode == 0 and kept == done  # no finished part was written again
    run(exported, catalogue, tmp_path / "plain.csv", cells_output=tmp_path / "plain.parquet")
    ours, plain = (pd.read_csv(path, dtype=str) for path in (output, tmp_path / "plain.csv"))
    scores = [column for column in ours if column.endswith("_confidence")]
    pd.testing.assert_frame_equal(ours.drop(columns=scores), plain.drop(columns=scores))
    for column in scores:  # batches of other sizes may differ in the last digit
        np.testing.assert_allclose(
            ours[column].astype(float), plain[column].astype(float), atol=2e-4
        )
    assert not parts.exists()


@pytest.mark.parametrize("what", ["options", "catalogue", "image_root", "with_cells"])
def test_an_unfinished_prediction_with_other_settings_is_not_resumed(
    exported, catalogue, tmp_path, monkeypatch, what
):
    def fail(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(predict, "fill_part", fail)
        run(exported, catalogue, tmp_path / "out.csv")
    before = sorted((tmp_path / "out.csv.parts").iterdir())
    more, root = {}, exported.path / "images"
    if what == "options":
        more["options"] = predict.PredictOptions(answer="best")
    if what == "with_cells":
        more["cells_output"] = tmp_path / "cells.parquet"
    if what == "catalogue":
        write_table(catalogue, table_of(exported, 61))
    if what == "image_root":
        root = exported.path
    with pytest.raises(InputError, match=f"differs in its {what.replace('_', ' ')}"):
        predict.predict(exported.model, catalogue, tmp_path / "out.csv", root, **more)
    assert sorted((tmp_path / "out.csv.parts").iterdir()) == before


def test_the_cells_file_compares_the_seller_with_the_model(exported, catalogue, tmp_path, schema):
    options = predict.PredictOptions(seller_column="vendor", sure=0.55)
    output = tmp_path / "cells.parquet"
    run(exported, catalogue, tmp_path / "out.csv", options=options, cells_output=output)
    found = pd.read_parquet(output)
    with open(catalogue, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    signature = tf.saved_model.load(str(exported.model / "1")).signatures["scores"]
    expected = []
    for number, row in enumerate(rows, start=1):
        path = exported.path / "images" / row["image"]
        scores = None
        if path.is_file():
            scores = signature(image_bytes=tf.constant([path.read_bytes()]))["scores"].numpy()[0]
        for attribute in schema.attributes:
            name = attribute.name
            if row["category"] == "jeans" and name == "neck_type" and not row[name]:
                continue  # does not apply
            known = [v for v in row[name].split("|") if v in attribute.values]
            if row["category"] == "jeans" and name == "neck_type":
                known = []  # "velvet" is no neck type
            verdict = "unseen"
            if scores is not None:
                by_value = dict(zip(attribute.values, scores[schema.slices[name]]))
                limits = {v: s > 0.5 for v, s in by_value.items()}
                best = max(by_value, key=by_value.get)
                answered = [
                    v for v in by_value if limits[v] and (v == best or not attribute.exclusive)
                ]
                if not row[name]:
                    verdict = "filled" if answered else "unanswered"
                elif not known:
                    verdict = "doubtful"
                elif (known == answered) if attribute.exclusive else set(known) <= set(answered):
                    verdict = "agreed"
                else:
                    others = [s for v, s in by_value.items() if v not in known]
                    least = min(by_value[v] for v in known)
                    sure = max(others) >= 0.55 and least <= 0.45
                    verdict = "contradicted" if sure else "doubtful"
            expected.append(
                (number, row["product_id"], row["vendor"], name, "|".join(known), verdict)
            )
    # values that depend on the category are covered by another test
    applies = found["category"].isin(["shirt", "jeans", ""])
    columns = ["row", "product_id", "seller", "attribute", "given", "verdict"]
    ours = list(found[applies][columns].astype({"verdict": str}).itertuples(index=False, name=None))
    skipped = {(n, a) for n, _, _, a, _, _ in expected if a == "closure"}
    keep = [cell for cell in ours if (cell[0], cell[3]) not in skipped]
    assert keep == [cell for cell in expected if (cell[0], cell[3]) not in skipped]
    assert {"agreed", "contradicted", "unseen"} & set(found["verdict"])
    assert pd.api.types.is_categorical_dtype(found["verdict"])
    for _, cell in found.iterrows():
        assert list(cell["proposed_scores"]) == sorted(cell["proposed_scores"], reverse=True)
        assert bool(cell["error"]) == (cell["verdict"] == "unseen")
    assert set(found["verdict"]) <= set(cells.VERDICTS)


def test_a_row_with_many_photos_is_scored_a_batch_at_a_time(exported, tmp_path, monkeypatch):
    names = sorted(path.name for path in (exported.path / "images").glob("*.jpg"))[:5]
    rows = [{**table_of(exported, 1)[0], "image": "|".join(names * 20)}]
    catalogue = write_table(tmp_path / "table.csv", rows)
    sizes = []
    local = scoring.local

    def counted(model):
        score = local(model)
        return lambda stored: sizes.append(len(stored)) or score(stored)

    monkeypatch.setattr(scoring, "local", counted)
    predict._scorer.cache_clear()
    run(exported, catalogue, tmp_path / "out.csv")
    predict._scorer.cache_clear()
    assert sum(sizes) == 100 and max(sizes) == scoring.BATCH


def test_a_carriage_return_in_a_cell_does_not_end_its_row(exported, tmp_path):
    rows = table_of(exported, 3)
    rows[1]["product_id"] = "p\r1"
    catalogue = write_table(tmp_path / "table.csv", rows)
    run(exported, catalogue, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert [row["product_id"] for row in csv.DictReader(file)] == ["p0", "p\r1", "p2"]


def test_beam_writes_the_same_files_as_this_process(exported, catalogue, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    monkeypatch.setattr(predict, "ROWS_PER_PART", 32)
    run(exported, catalogue, tmp_path / "here.csv", cells_output=tmp_path / "here.parquet")
    beam = {"runner": Beam(), "cells_output": tmp_path / "beam.parquet"}
    run(exported, catalogue, tmp_path / "beam.csv", **beam)
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "beam.csv").read_bytes()
    here, there = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("here", "beam"))
    pd.testing.assert_frame_equal(here, there)


def test_a_server_gives_the_same_answers_as_the_model_in_memory(exported, catalogue, tmp_path):
    pytest.importorskip("tensorflow_serving")
    run(exported, catalogue, tmp_path / "here.csv")
    with running(exported.model) as server:
        places = f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"
        for i, place in enumerate(places):
            options = predict.PredictOptions(server=f"{place}/{exported.model.name}")
            run(exported, catalogue, tmp_path / f"{i}.csv", options=options)
            a, b = (pd.read_csv(tmp_path / n, dtype=str) for n in ("here.csv", f"{i}.csv"))
            same = [column for column in a if not column.endswith("_confidence")]
            pd.testing.assert_frame_equal(a[same], b[same])
    with pytest.raises(InputError, match="grpc://HOST:PORT/MODEL"):
        options = predict.PredictOptions(server="localhost")
        run(exported, catalogue, tmp_path / "c.csv", options=options)


def test_existing_outputs_and_invalid_options_raise(exported, catalogue, tmp_path):
    (tmp_path / "out.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="out.csv: exists already"):
        run(exported, catalogue, tmp_path / "out.csv")
    with pytest.raises(InputError, match="table.csv: exists already"):
        run(exported, catalogue, tmp_path / "new.csv", cells_output=catalogue)
    with pytest.raises(InputError, match="--sure=0.3"):
        predict.PredictOptions(sure=0.3)
    with pytest.raises(InputError, match="no column 'vendors'; did you mean 'vendor'"):
        options = predict.PredictOptions(seller_column="vendors")
        run(exported, catalogue, tmp_path / "new.csv", options=options)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "mine"


def test_product_boxes_crop_the_photos_and_are_in_the_cells_file(exported, tmp_path, schema):
    name = "001_0.jpg"
    wide = Image.new("RGB", (300, 100), "white")
    with Image.open(exported.path / "images" / name) as photo:
        wide.paste(photo.resize((100, 100)), (200, 0))
    wide.save(tmp_path / "wide.png")
    cut = wide.crop((200, 0, 300, 100))
    cut.save(tmp_path / "cut.png")
    edges = dict(zip("ltrb", ("200", "0", "300", "100")))
    row = dict.fromkeys(["product_id", "image", *schema.names, *"ltrb"], "")
    rows = [
        {**row, "product_id": "a", "image": "wide.png", **edges},
        {**row, "product_id": "b", "image": "cut.png"},
        {**row, "product_id": "c", "image": "wide.png", **edges, "b": "none"},
    ]
    table = write_table(tmp_path / "table.csv", rows)
    options = predict.PredictOptions(answer="best", box_columns=tuple("ltrb"))
    output, found = tmp_path / "out.csv", tmp_path / "cells.parquet"
    predict.predict(exported.model, table, output, tmp_path, options, found)
    with open(output, newline="", encoding="utf-8") as file:
        boxed, plain, bad = csv.DictReader(file)
    for name in schema.names:
        for what in (name, f"{name}_confidence"):
            assert boxed[what] == plain[what] != ""
    assert "product box is not four numbers" in bad["error"]
    by_product = pd.read_parquet(found).groupby("product_id")["box"].unique()
    assert [list(by_product[p]) for p in "abc"] == [
        *([boxes.join(["200", "0", "300", "100"])], [""]),
        [boxes.join(["200", "0", "300", "none"])],
    ]
