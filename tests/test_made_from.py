"""Tests of the digests that link weights, thresholds, model.json, cells and served answers.

There are two networks of one schema; files made from one must not be used with the other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from attr_extractor import files, made_from
from attr_extractor.config import Config
from attr_extractor.enrichment.cells import CellsFile
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.quality import qualify
from attr_extractor.enrichment.review.server import Server
from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, evaluate, model_card
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.serving import export, model_dir
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir
from tests.conftest import Shop, write_table
from tests.enrichment.by_hand import cell, write_cells
from tests.enrichment.fill.test_predict import table_of
from tests.enrichment.review.by_hand import options as review_options
from tests.serving.running import running


@dataclass(frozen=True)
class Other:
    """A run of the shop's schema and records with other weights, and its exported model."""

    run: Path
    model: Path


def copy_run(trained: Shop, path: Path) -> Path:
    """The trained run without checkpoints."""
    ignored = shutil.ignore_patterns("checkpoints", "logs")
    return Path(shutil.copytree(trained.run, path, ignore=ignored))


def disturb(run: Path, seed: int = 0) -> None:
    """Change the weights of a run."""
    generator = np.random.default_rng(seed)
    arrays = files.read_arrays(run / "weights.npz")
    moved = {
        n: (a + generator.normal(0, 0.05, a.shape) ** 2).astype(a.dtype) for n, a in arrays.items()
    }
    files.write_arrays(run / "weights.npz", moved)


def edit(path: Path, **changes) -> None:
    """Replace keys of a JSON file; None removes a key."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def older(model: Path, path: Path) -> Path:
    """Write a model as an older version exported it: without digests in graph and assets."""
    version = Path(shutil.copytree(model / "1", path / "1"))
    module = tf.saved_model.load(str(version))

    class Older(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def scores(self, image_bytes):
            found = module.signatures["scores"](image_bytes=image_bytes)
            return {name: found[name] for name in ("scores", "names", "error")}

    served = Older()
    served.module, served.network = module, module.network
    assets = {p.name: p.read_bytes() for p in (version / "assets").iterdir()}
    shutil.rmtree(version)
    tf.saved_model.save(served, str(version), signatures={"scores": served.scores})
    for name, content in assets.items():
        (version / "assets").mkdir(exist_ok=True)
        (version / "assets" / name).write_bytes(content)
    edit(version / "assets" / "model.json", digest=None, weights=None, network=None, records=None)
    return path


@pytest.fixture(scope="module")
def other(exported, tmp_path_factory) -> Other:
    path = tmp_path_factory.mktemp("other")
    made = Other(copy_run(exported, path / "run"), path / exported.model.name)
    disturb(made.run)
    export.export(made.run, made.model)
    return made


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return copy_run(trained, tmp_path / "run")


@pytest.fixture
def catalogue(exported, tmp_path) -> Path:
    return write_table(tmp_path / "table.csv", table_of(exported, 20))


@pytest.fixture(scope="module")
def cells_file(exported, tmp_path_factory) -> Path:
    """Return the cells file that the exported model wrote."""
    path = tmp_path_factory.mktemp("cells")
    table = write_table(path / "table.csv", table_of(exported, 20))
    root, found = exported.path / "images", path / "cells.parquet"
    predict.predict(exported.model, table, path / "out.csv", root, cells_output=found)
    return found


def test_the_weights_digest_covers_names_dtypes_shapes_and_values(tmp_path):
    arrays = {"b/0": np.arange(6, dtype=np.float32).reshape(2, 3), "a/0": np.float32([[1.5]])}
    found = made_from.weights_digest(arrays)
    assert found == made_from.weights_digest(dict(reversed(list(arrays.items()))))
    np.savez_compressed(tmp_path / "weights.npz", **arrays)  # other bytes, the same arrays
    assert found == made_from.run_weights_digest(tmp_path)
    for changed in (
        {"b/0": arrays["b/0"].reshape(3, 2)},
        {"b/0": arrays["b/0"].astype(np.float64)},
        {"b/0": arrays["b/0"].T.copy().T + np.float32(1e-6)},
        {"c/0": arrays["b/0"]},
    ):
        assert made_from.weights_digest({**arrays, **changed}) != found


def test_the_digest_of_unchanged_weights_is_computed_once(run, monkeypatch):
    first = made_from.run_weights_digest(run)
    monkeypatch.setattr(made_from, "_SETTLED", 0)  # as if the file had not changed for a second
    assert made_from.run_weights_digest(run) == first
    arrays = files.read_arrays(run / "weights.npz")
    monkeypatch.setattr(made_from.files, "read_arrays", None)
    assert made_from.run_weights_digest(run) == first
    monkeypatch.undo()
    changed = {**arrays, next(iter(arrays)): next(iter(arrays.values())) + 1}
    files.write_arrays(run / "weights.npz", changed)
    assert made_from.run_weights_digest(run) == made_from.weights_digest(changed) != first


def test_thresholds_calibrated_on_other_weights_raise(run, other, tmp_path):
    calibrate.calibrate(run)
    beside = shutil.copytree(other.run, tmp_path / "beside")
    shutil.copy(run / "thresholds.json", beside / "thresholds.json")
    line = r"thresholds.json: calibrated on other weights .*run attr-extractor calibrate --run_dir="
    for use in (
        lambda: evaluate.evaluate(beside),
        lambda: evaluate.evaluate(run, other_dir=beside),
        lambda: export.export(beside, tmp_path / "models"),
    ):
        with pytest.raises(InputError, match=line):
            use()
    assert not (tmp_path / "models").exists()
    calibrate.calibrate(beside)  # what the line names mends it
    RunDir.read(beside).load_network()


def test_training_new_weights_resets_the_calibration(trained, tmp_path, schema, capsys):
    path = Path(shutil.copytree(trained.run, tmp_path / "run"))
    first = files.read_arrays(path / "weights.npz")
    disturb(path)
    calibrate.calibrate(path)
    (path / "weights.npz").unlink()
    fit.train(Config.read(trained.config), trained.records, path)
    again = files.read_arrays(path / "weights.npz")
    assert all(np.array_equal(array, again[name]) for name, array in first.items())
    assert RunDir.read(path).thresholds() == Thresholds.of_schema(schema)
    assert "thresholds.json" in capsys.readouterr().out  # said, and what chooses new ones
    assert list(RunDir.read(path).metrics()) == ["training"]


def test_training_the_same_weights_keeps_the_calibration(trained, tmp_path):
    path = Path(shutil.copytree(trained.run, tmp_path / "run"))
    calibrate.calibrate(path)
    before = (path / "thresholds.json").read_bytes()
    (path / "weights.npz").unlink()
    fit.train(Config.read(trained.config), trained.records, path)
    assert (path / "thresholds.json").read_bytes() == before
    assert "calibration" in RunDir.read(path).metrics()


def test_thresholds_of_an_older_version_are_used_with_a_warning(run, caplog):
    calibrate.calibrate(run)
    edit(run / "thresholds.json", weights=None)
    with caplog.at_level("WARNING", "absl"):
        RunDir.read(run).load_network()
    assert "calibrated by an older version" in caplog.text


def test_scores_of_other_weights_are_removed_from_metrics_and_card(run):
    evaluate.evaluate(run, split="validation")
    disturb(run)
    evaluate.evaluate(run, split="test")
    assert set(RunDir.read(run).metrics()) == {"test"}
    card = files.read_json(run / model_card.CARD, "")
    assert set(card["scores"]) == {"test"}


def test_an_exported_model_contains_the_current_model_card(run, tmp_path):
    calibrate.calibrate(run)
    assert files.read_json(run / model_card.CARD, "")["calibration"]
    edit(run / "thresholds.json", split=None, weights=None)
    disturb(run)
    version = export.export(run, tmp_path / "models")
    card = files.read_json(version / "assets" / model_card.CARD, "")
    assert card["calibration"] is None
    assert "Not calibrated" in (version / "assets" / model_card.PAGE).read_text("utf-8")


def test_the_models_digest_is_in_its_assets_and_its_answers(exported, other):
    told = []
    for model, path in ((exported.model, exported.run), (other.model, other.run)):
        assets = model / "1" / "assets"
        facts = json.loads((assets / "model.json").read_text(encoding="utf-8"))
        assert facts["weights"] == made_from.run_weights_digest(path)
        left_out = ("name", "parts", "digest")
        held = {name: value for name, value in facts.items() if name not in left_out}
        text = json.dumps(held, sort_keys=True, separators=(",", ":"))
        assert facts["digest"] == hashlib.sha256(text.encode()).hexdigest()[:32]
        signatures = tf.saved_model.load(str(model / "1")).signatures
        photo = (exported.path / "images" / "001_0.jpg").read_bytes()
        for name in ("scores", "embedding"):
            found = signatures[name](image_bytes=tf.constant([photo, b"broken"]))["model"]
            assert found.numpy().tolist() == [facts["digest"].encode()] * 2
        told.append(facts["digest"])
    assert told[0] != told[1]


@pytest.mark.parametrize("what", ["thresholds", "network", "image_size", "gate", "short_side"])
def test_the_digest_changes_with_each_setting_that_affects_answers(exported, run, tmp_path, what):
    before = model_dir.describe(exported.model).facts.digest
    config = (run / "config.yaml").read_text(encoding="utf-8")
    if what == "thresholds":
        content = files.read_json(run / "thresholds.json", "")
        content["attributes"]["color"]["threshold"] = 0.4
        files.write_json(run / "thresholds.json", content)
    if what == "network":  # the arrays have the same shapes
        assert "exclusive_output: sigmoid" in config
        config = config.replace("exclusive_output: sigmoid", "exclusive_output: softmax")
    if what == "image_size":
        config = config.replace("square: squeeze", "square: pad")
    if what == "gate":
        assert "gate_by_category: false" in config
        config = config.replace("gate_by_category: false", "gate_by_category: true")
    if what == "short_side":
        edit(run / "records.json", photo_short_side=96)
    (run / "config.yaml").write_text(config, encoding="utf-8")
    opened = RunDir.read(run)
    assert export.describe(opened, opened.thresholds()).digest != before
    plain = RunDir.read(exported.run)
    assert export.describe(plain, plain.thresholds(), parts=2).digest == before


def test_an_edited_or_foreign_model_description_raises(exported, other, tmp_path):
    for changes in ({"gate_by_category": True}, {"weights": "0" * 32}, {"digest": "0" * 32}):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        shutil.copytree(exported.model, tmp_path / "model")
        edit(tmp_path / "model" / "1" / "assets" / "model.json", **changes)
        with pytest.raises(InputError, match=r"model.json: .*export.* again"):
            model_dir.describe(tmp_path / "model")
    described = tmp_path / "model" / "1" / "assets" / "model.json"
    shutil.copy(other.model / "1" / "assets" / "model.json", described)
    model_dir.describe(tmp_path / "model")
    with pytest.raises(InputError, match=r"model.json: .*another export.*export.* again"):
        model_dir.load(tmp_path / "model")
    edit(described, digest=None)
    with pytest.raises(InputError, match=r"model.json: .*another export.*export.* again"):
        model_dir.load(tmp_path / "model")


@pytest.mark.parametrize("made_by", ["this version", "an older one"])
def test_an_interrupted_prediction_is_not_resumed_with_edited_thresholds(
    exported, catalogue, tmp_path, monkeypatch, made_by
):
    model = tmp_path / "model"
    if made_by == "this version":
        shutil.copytree(exported.model, model)
    else:
        older(exported.model, model)

    def filled() -> predict.PredictSummary:
        root = exported.path / "images"
        return predict.predict(model, catalogue, tmp_path / "out.csv", root)

    monkeypatch.setattr(predict, "ROWS_PER_PART", 8)
    fill_part, calls = predict.fill_part, []

    def killed(part, *more):
        if calls:
            raise KeyboardInterrupt
        calls.append(part)
        fill_part(part, *more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(predict, "fill_part", killed)
        filled()
    done = sorted((tmp_path / "out.csv.parts").glob("*.counts.json"))
    assert len(done) == 1
    path = model / "1" / "assets" / "model.json"
    whole = path.read_bytes()
    facts = json.loads(whole)
    facts["thresholds"]["attributes"]["category"]["threshold"] = 1.0
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match=r"model.json: .*export|unfinished .* in its model"):
        filled()
    assert sorted((tmp_path / "out.csv.parts").glob("*.counts.json")) == done
    path.write_bytes(whole)
    assert filled().rows == 20


def test_a_cells_file_contains_the_digest_of_its_model(exported, cells_file, schema):
    metadata = pq.read_metadata(cells_file).metadata
    facts = model_dir.describe(exported.model).facts
    assert json.loads(metadata[b"attr_extractor"]) == {
        "model": facts.digest,
        "weights": made_from.run_weights_digest(exported.run),
        "fingerprint": schema.fingerprint,
        "temperatures": dict.fromkeys(schema.names, 1.0),
    }


def test_cells_of_another_model_raise(exported, other, cells_file, schema, tmp_path):
    line = r"written by another model .*attr-extractor predict --cells"
    with pytest.raises(InputError, match=line):
        qualify.qualify(cells_file, tmp_path / "out", model=other.model)
    assert not (tmp_path / "out").exists()
    of_other = review_options(exported, tmp_path, [cell()], schema=None, model=other.model)
    shutil.copy(cells_file, of_other.cells)
    with pytest.raises(InputError, match=line):
        Server(of_other)
    assert not Path(of_other.decisions).exists()
    qualify.qualify(cells_file, tmp_path / "out", model=exported.model)
    shop_schema = exported.schema_file.read_text(encoding="utf-8")
    (tmp_path / "schema.yaml").write_text(shop_schema.replace("blue", "navy"), encoding="utf-8")
    with pytest.raises(InputError, match="made with another schema"):
        qualify.qualify(cells_file, tmp_path / "out2", tmp_path / "schema.yaml")


def test_a_run_with_other_weights_than_the_cells_raises(exported, other, run, cells_file, tmp_path):
    evaluate.evaluate(run, split="validation")
    line = "weights .* are not those of the model that wrote .*pass the run"
    for more in ({"model": exported.model}, {"schema": exported.schema_file}):
        with pytest.raises(InputError, match=line):
            qualify.qualify(cells_file, tmp_path / "out", run_dir=other.run, **more)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=line):
        shown = review_options(exported, tmp_path, [cell()], run_dir=other.run)
        shutil.copy(cells_file, shown.cells)
        Server(shown)
    report = qualify.qualify(cells_file, tmp_path / "out", model=exported.model, run_dir=run)
    assert report.thresholds
    disturb(run)
    with pytest.raises(InputError, match=r"since it was measured on validation: run .*evaluate"):
        qualify.qualify(
            write_cells(tmp_path / "by_hand.parquet", [cell()]),
            tmp_path / "out3",
            exported.schema_file,
            run_dir=run,
        )


def test_cells_without_a_digest_are_used_with_a_warning(exported, tmp_path, caplog):
    path = write_cells(tmp_path / "cells.parquet", [cell()])
    with caplog.at_level("WARNING", "absl"):
        qualify.qualify(path, tmp_path / "out", model=exported.model)
    assert "cells.parquet: does not record which model wrote it" in caplog.text


def test_damaged_metadata_of_cells_raises_one_line(schema, cells_file, tmp_path):
    for told in (b"[]", b"{", b"\xff", b'{"model": 3}'):
        table = pq.read_table(cells_file).replace_schema_metadata({b"attr_extractor": told})
        pq.write_table(table, tmp_path / "cells.parquet")
        with pytest.raises(InputError, match=r"cells.parquet"):
            CellsFile(tmp_path / "cells.parquet", schema)


def test_a_server_with_another_model_raises(exported, other, catalogue, tmp_path):
    pytest.importorskip("tensorflow_serving")
    name, root = exported.model.name, exported.path / "images"
    with running(other.model) as server:
        places = f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"
        for i, place in enumerate(places):
            options = predict.PredictOptions(server=f"{place}/{name}")
            output = tmp_path / f"{i}.csv"
            with pytest.raises(InputError, match=r"serves another model .* than .*model"):
                predict.predict(exported.model, catalogue, output, root, options)
            assert not output.exists()
            predict.predict(other.model, catalogue, tmp_path / f"own{i}.csv", root, options)
    own, remote = (pd.read_csv(tmp_path / f"own{i}.csv", dtype=str) for i in (0, 1))
    pd.testing.assert_frame_equal(own, remote)
