"""Tests of the whole road with every path in a bucket: the same results as on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import attr_extractor as ax
from attr_extractor import files, storage, working_copy
from attr_extractor.catalogue.infer import infer_schema
from attr_extractor.catalogue.table import read_columns
from attr_extractor.config import Config
from attr_extractor.enrichment.drift import drift
from attr_extractor.enrichment.fill import predict
from attr_extractor.enrichment.quality import qualify
from attr_extractor.enrichment.search import build as search
from attr_extractor.enrichment.search.index import Index
from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, evaluate
from attr_extractor.evaluation.audit import audit
from attr_extractor.evaluation.explain import explain_photos
from attr_extractor.records import builder, check, plan
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.serving import export, model_dir
from attr_extractor.training import fit
from tests.conftest import Shop
from tests.records.by_hand import InProcess

pytestmark = pytest.mark.slow
OPTIONS = plan.BuildOptions(image_size=64, shards=3, split_fractions=(0.6, 0.2, 0.2))


def upload(folder: Path, address: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write(f"{address}/{path.relative_to(folder)}", path.read_bytes())


@pytest.fixture(scope="module", params=["s3", "gs"])
def in_bucket(request: pytest.FixtureRequest, shop: Shop) -> str:
    """The address of the shop's table, photos, schema and config."""
    address = f"{request.getfixturevalue(request.param)}/shop"
    upload(shop.path / "images", f"{address}/images")
    for path in (shop.catalogue, shop.schema_file, shop.config):
        storage.write(f"{address}/{path.name}", path.read_bytes())
    return address


@pytest.fixture(scope="module")
def records(in_bucket: str) -> str:
    schema = Schema.read(f"{in_bucket}/schema.yaml")
    address = f"{in_bucket}/records"
    builder.build(
        f"{in_bucket}/catalogue.csv", schema, address, options=OPTIONS, runner=InProcess()
    )
    return address


@pytest.fixture(scope="module")
def run(in_bucket: str, records: str) -> str:
    fit.train(Config.read(f"{in_bucket}/config.yaml"), records, f"{in_bucket}/run")
    return f"{in_bucket}/run"


@pytest.fixture(scope="module")
def here(trained: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated copy of the run on the disk, and its model."""
    folder = tmp_path_factory.mktemp("here")
    shutil.copytree(trained.run, folder / "run")
    calibrate.calibrate(folder / "run")
    export.export(folder / "run", folder / "models" / "shop")
    return folder


@pytest.fixture(scope="module")
def model(in_bucket: str, run: str) -> str:
    calibrate.calibrate(run)
    assert export.export(run, f"{in_bucket}/models/shop") == f"{in_bucket}/models/shop/1"
    return f"{in_bucket}/models/shop"


def test_a_schema_is_inferred(in_bucket: str, shop: Shop, tmp_path: Path):
    for place, output in ((in_bucket, in_bucket), (str(shop.path), str(tmp_path))):
        draft = infer_schema(read_columns(f"{place}/catalogue.csv"), "shop")
        draft.write(f"{output}/inferred.yaml")
        with pytest.raises(InputError, match="inferred.yaml: exists already"):
            draft.write(f"{output}/inferred.yaml")
    inferred = storage.read(f"{in_bucket}/inferred.yaml")
    assert inferred == (tmp_path / "inferred.yaml").read_bytes()


def test_records_equal_those_on_a_disk(records: str, built: Shop):
    manifest = Manifest.read(records)
    assert manifest == Manifest.read(built.records)
    for split in manifest.splits.values():
        for shard in split.shards:
            path = storage.join(records, shard.name)
            assert storage.read(path) == (built.records / shard.name).read_bytes()
    assert not check.check(records).problems
    assert all(not name.startswith(".lock") for name in storage.names(records))


def test_a_run_has_the_files_and_weights_of_one_on_a_disk(run: str, trained: Shop):
    here = {p.relative_to(trained.run).as_posix() for p in trained.run.rglob("*") if p.is_file()}
    # other tests may have evaluated the run on the disk
    later = ("logs/", "predictions/", "report", "metrics_", "model_card")
    steady = {name for name in here if not name.startswith(later)}
    assert steady <= set(storage.objects(run))
    assert any("events.out" in name for name in storage.objects(f"{run}/logs/train"))
    weights = files.read_arrays(working_copy.file(f"{run}/weights.npz"))
    for name, array in files.read_arrays(trained.run / "weights.npz").items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


def test_a_finished_run_is_not_trained_again(in_bucket: str, records: str, run: str):
    before = storage.objects(run)["weights.npz"]
    fit.train(Config.read(f"{in_bucket}/config.yaml"), records, run)
    assert storage.objects(run)["weights.npz"] == before


def test_a_run_is_evaluated_audited_and_explained(in_bucket: str, run: str, model: str, here: Path):
    measured = evaluate.evaluate(run, "test")
    assert measured["records"] == f"{in_bucket}/records"
    assert ax.Run(run).metrics["test"]["mean"] == measured["mean"]
    assert storage.exists(f"{run}/report.html") and storage.exists(f"{run}/model_card.md")
    assert measured["mean"] == evaluate.evaluate(here / "run", "test")["mean"]
    frame = ax.Run(run).predictions("test")
    assert len(frame) == Manifest.read(f"{in_bucket}/records").splits["test"].photos
    assert list(ax.Run(run).history) == list(ax.Run(here / "run").history)
    page, count = explain_photos.explain_photos(run, [f"{in_bucket}/images/000_0.jpg"])
    assert page == f"{run}/explain/index.html" and storage.exists(page) and count
    summary = audit.audit(run, f"{in_bucket}/audit.csv", folds=2)
    assert summary and storage.read(f"{in_bucket}/audit.csv").startswith(b"product_id")


def test_the_model_answers_as_one_on_a_disk(in_bucket: str, model: str, here: Path, shop: Shop):
    there, of_disk = ax.Predictor(model), ax.Predictor(here / "models" / "shop")
    photos = [f"images/{i:03d}_0.jpg" for i in range(4)]
    found = there.predict([f"{in_bucket}/{photo}" for photo in photos])
    expected = of_disk.predict([shop.path / photo for photo in photos])
    assert [p.answers for p in found] == [p.answers for p in expected]
    assert found[0].error == ""
    missing = there.predict(f"{in_bucket}/images/none.jpg")
    assert "image not found" in missing[0].error


def test_a_second_version_leaves_the_first_as_it_is(in_bucket: str, run: str, model: str):
    before = storage.objects(f"{model}/1")
    storage.write(f"{model}/deployment/models.config", b"edited")
    assert export.export(run, model).endswith("/2")
    assert storage.objects(f"{model}/1") == before
    assert storage.read(f"{model}/deployment/models.config") == b"edited"
    assert model_dir.describe(model).origin == f"{model}/2"
    with pytest.raises(InputError, match=f"{model}/1: this version exists"):
        export.export(run, model, 1)


def test_a_table_is_filled_qualified_indexed_and_compared(
    in_bucket: str, records: str, model: str, here: Path, shop: Shop, tmp_path: Path
):
    filled, cells = f"{in_bucket}/filled.csv", f"{in_bucket}/cells.parquet"
    version = f"{model}/1"
    predict.predict(version, f"{in_bucket}/catalogue.csv", filled, cells_output=cells)
    predict.predict(here / "models" / "shop", shop.catalogue, tmp_path / "filled.csv")
    assert storage.read(filled) == (tmp_path / "filled.csv").read_bytes()
    assert not storage.exists(f"{filled}.parts")
    assert all(not name.endswith(".lock-000001") for name in storage.names(in_bucket))
    with pytest.raises(InputError, match="filled.csv: exists already"):
        predict.predict(version, f"{in_bucket}/catalogue.csv", filled)

    qualify.qualify(cells, f"{in_bucket}/quality", f"{in_bucket}/schema.yaml")
    assert "quality.json" in storage.names(f"{in_bucket}/quality")
    drift.drift(f"{in_bucket}/catalogue.csv", records, f"{in_bucket}/drift", model=version)
    assert storage.names(f"{in_bucket}/drift")

    index = f"{in_bucket}/index"
    search.build(version, f"{in_bucket}/catalogue.csv", index)
    assert not storage.exists(f"{index}/parts")
    assert len(Index(index, model_dir.describe(version))) == 132
