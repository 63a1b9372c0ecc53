"""Tests of the Dockerfiles: their versions and arguments are those of the package."""

from __future__ import annotations

import json
import re

import pytest
import yaml

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
