"""Tests of the pipeline for Kubeflow and Vertex AI: its compiled steps, and a local run of them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from attr_extractor import cli
from attr_extractor.api.predictor import Predictor
from tests.conftest import ROOT, Shop, require_bad_input

local = pytest.importorskip("kfp.local", reason="kfp requires a Python before 3.12")
pipeline = importlib.import_module("deploy.pipeline")  # imports kfp

IMAGE = "registry/python:1"
STEPS = ["build", "check", "train", "evaluate", "calibrate", "export"]
BUILD = ["--image_size=64", "--shards=3", "--split_fractions=0.6,0.2,0.2"]


def compile_pipeline(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "deploy/pipeline.py", f"--output={folder}/pipeline.yaml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_compiled_steps_run_one_after_another(tmp_path):
    result = compile_pipeline(tmp_path, f"--image={IMAGE}", "--accelerator=nvidia.com/gpu")
    assert result.returncode == 0, result.stderr
    compiled = yaml.safe_load((tmp_path / "pipeline.yaml").read_text(encoding="utf-8"))
    tasks = compiled["root"]["dag"]["tasks"]
    assert set(tasks) == set(STEPS) <= set(cli.VERBS)
    for step, previous in zip(STEPS[1:], STEPS):
        assert previous in tasks[step]["dependentTasks"]
    executors = compiled["deploymentSpec"]["executors"]
    containers = {step: executors[f"exec-{step}"]["container"] for step in STEPS}
    assert {container["image"] for container in containers.values()} == {IMAGE}
    assert [step for step in STEPS if "resources" in containers[step]] == ["train"]
    assert not any(task["cachingOptions"] for task in tasks.values())


def test_the_records_are_an_input_of_every_step_that_reads_them(tmp_path):
    assert compile_pipeline(tmp_path, f"--image={IMAGE}").returncode == 0
    compiled = yaml.safe_load((tmp_path / "pipeline.yaml").read_text(encoding="utf-8"))
    artifacts = {
        step: task["inputs"].get("artifacts", {})
        for step, task in compiled["root"]["dag"]["tasks"].items()
    }
    reading = {step for step, given in artifacts.items() if "records" in given}
    assert reading == {"check", "train", "evaluate", "calibrate"}
    # a step that writes into the run passes its own copy on
    producers = {
        step: {a["taskOutputArtifact"]["producerTask"] for a in given.values()} - {"build"}
        for step, given in artifacts.items()
    }
    assert producers["calibrate"] == {"evaluate"}
    assert producers["export"] == {"calibrate"}


def test_bad_flags_end_with_one_line(tmp_path):
    require_bad_input(compile_pipeline(tmp_path), "--image")
    output = f"--output={tmp_path}/pipeline.txt"
    require_bad_input(compile_pipeline(tmp_path, f"--image={IMAGE}", output), "must end with .yaml")
    output = f"--output={tmp_path}/missing/pipeline.yaml"
    require_bad_input(compile_pipeline(tmp_path, f"--image={IMAGE}", output), "does not exist")


def run_pipeline(shop: Shop, root: Path, require: str) -> Path:
    """Run all steps in processes of this environment; return the folder of the models."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    task = pipeline.make_pipeline(IMAGE)(
        catalogue=str(shop.catalogue),
        schema=str(shop.schema_file),
        config=str(shop.config),
        require=require,
        goal="equation_2",
        model_name="shop",
        build_flags=BUILD,
        train_flags=["--set=train.epochs=8"],
    )
    return Path(task.output.path)


@pytest.mark.slow
def test_a_local_run_exports_the_calibrated_model(shop, tmp_path):
    models = run_pipeline(shop, tmp_path, require="mean_average_accuracy>=0")
    (run,) = tmp_path.glob("attr-extractor-*/calibrate/run")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["failed_requirements"] == []
    calibrated = json.loads((run / "thresholds.json").read_text(encoding="utf-8"))
    served = json.loads((models / "shop/1/assets/model.json").read_text(encoding="utf-8"))
    assert served["thresholds"] == calibrated
    goals = {a["goal"] for a in calibrated["attributes"].values()}
    assert goals == {"equation_2"}
    (config,) = tmp_path.glob("attr-extractor-*/train/run/config.yaml")
    assert yaml.safe_load(config.read_text(encoding="utf-8"))["train"]["epochs"] == 8

    # drawn as shirts and jeans in turn; see `shop_rows`
    photos = sorted((shop.path / "images").glob("*_0.jpg"))[:20]
    predictions = Predictor(models / "shop").predict(photos)
    right = [("shirt", "jeans")[i % 2] in p.answers["category"] for i, p in enumerate(predictions)]
    assert sum(right) > 15


@pytest.mark.slow
def test_a_requirement_that_is_not_met_stops_the_pipeline(shop, tmp_path, capfd):
    with pytest.raises(RuntimeError, match="evaluate"):
        run_pipeline(shop, tmp_path, require="mean_average_accuracy>=1.1")
    assert "failed: " in capfd.readouterr().out
    assert list(tmp_path.glob("attr-extractor-*/train/run/weights.npz"))
    assert not list(tmp_path.glob("attr-extractor-*/calibrate"))
