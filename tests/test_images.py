"""Tests of the Dockerfiles and jobs: their versions and arguments are those of the package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from attr_extractor import errors
from attr_extractor.serving import deployment
from tests.conftest import ROOT

FOLDER = ROOT / "deploy"
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / ".ci/constraints-3.11.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
)


def instructions(name: str, keyword: str) -> list[str]:
    """Return the arguments of every instruction of a Dockerfile, continued lines joined."""
    text = (FOLDER / f"{name}.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{keyword} +(.+)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "image", "package"),
    [
        ("beam", "apache/beam_python3.11_sdk", "apache-beam"),
        ("serve", "tensorflow/serving", "tensorflow"),
    ],
)
def test_the_base_image_has_the_version_of_the_constraints(name, image, package):
    assert instructions(name, "FROM")[-1] == f"{image}:{CONSTRAINTS[package]}"


@pytest.mark.parametrize("name", ["train", "beam"])
def test_copied_files_exist_and_include_the_constraints(name):
    copied = [word for line in instructions(name, "COPY") for word in line.split()[:-1]]
    assert ".ci/constraints-3.11.txt" in copied
    assert all((ROOT / path).exists() for path in copied)
    assert {"attr_extractor", "configs", "setup.cfg", "setup.py"} <= set(copied)


def test_the_server_gets_the_arguments_of_the_exported_configs(tmp_path):
    models = tmp_path / "shop"
    models.mkdir()
    deployment.write_configs(models)
    compose = (models / "deployment/docker-compose.yaml").read_text(encoding="utf-8")
    (service,) = yaml.safe_load(compose)["services"].values()
    expected = [*service["entrypoint"], *service["command"]]
    (entrypoint,) = instructions("serve", "ENTRYPOINT")
    assert json.loads(entrypoint) == [
        argument.replace("/models/shop/deployment", "/deployment")
        for argument in expected
        if argument != "--tensorflow_intra_op_parallelism=0"  # TF Serving's default
    ]
    copies = [line.split() for line in instructions("serve", "COPY")]
    assert ["${MODEL}/", "/models/${MODEL}/"] in copies
    assert ["${MODEL}/deployment/", "/deployment/"] in copies


def job(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def container(name: str) -> dict[str, Any]:
    """Return the container that a job runs."""
    content = job(name)
    if name == "vertex_job":
        return content["workerPoolSpecs"][0]["containerSpec"]
    return content["spec"]["template"]["spec"]["containers"][0]


def test_the_kubernetes_job_is_one_by_its_schema():
    validator = pytest.importorskip("kubernetes_validate")
    content = job("train_job")
    validator.validate(content, desired_version=validator.latest_version(), strict=True)
    content["spec"]["template"]["spec"]["restart"] = "Never"
    with pytest.raises(validator.ValidationError):
        validator.validate(content, desired_version=validator.latest_version(), strict=True)


def test_the_vertex_job_is_one_by_its_message():
    types = pytest.importorskip("google.cloud.aiplatform_v1.types")
    from google.protobuf import json_format

    json_format.ParseDict(job("vertex_job"), types.CustomJobSpec.pb()())


@pytest.mark.parametrize("name", ["train_job", "vertex_job"])
def test_the_arguments_of_a_job_are_those_of_the_program(name):
    command = [sys.executable, "-m", "attr_extractor", *container(name)["args"]]
    checked = subprocess.run(
        [*command, "--only_check_args"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    wrong = subprocess.run([*command, "--no_flag"], cwd=ROOT, capture_output=True, check=False)
    assert wrong.returncode == 2


def test_a_job_ends_at_once_only_after_bad_input():
    (on_exit,) = (
        rule["onExitCodes"]
        for rule in job("train_job")["spec"]["podFailurePolicy"]["rules"]
        if rule["action"] == "FailJob"
    )
    assert on_exit["containerName"] == container("train_job")["name"]
    assert on_exit["values"] == [errors.BAD_INPUT]
