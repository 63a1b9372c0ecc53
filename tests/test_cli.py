"""Tests of `attr-extractor VERB`: its verbs, its errors, and the configs that it finds by name."""

from __future__ import annotations

import re

import pytest

import attr_extractor
from attr_extractor import cli, yaml_files
from attr_extractor.config import Config
from attr_extractor.errors import InputError
from attr_extractor.programs import demo
from attr_extractor.schema import Schema
from tests.conftest import ROOT


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["attr-extractor", *arguments])
    cli.main()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_without_a_verb_every_program_is_listed(monkeypatch, capsys, arguments):
    run(monkeypatch, *arguments)
    listed = re.findall(r"^  ([a-z-]+) +(\S.*)$", capsys.readouterr().out, re.MULTILINE)
    programs = {path.stem for path in (ROOT / "attr_extractor" / "programs").glob("*.py")}
    assert {verb.replace("-", "_") for verb, _ in listed} == programs - {"__init__"}
    assert dict(listed)["check"].startswith("Verify every byte of finished records")


def test_the_version_is_the_packages(monkeypatch, capsys):
    run(monkeypatch, "--version")
    assert capsys.readouterr().out == f"{attr_extractor.__version__}\n"


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("trian", "error: unknown verb 'trian'; did you mean 'train'?"),
        ("x", "error: unknown verb 'x'; attr-extractor --help lists the verbs"),
    ],
)
def test_an_unknown_verb_names_the_nearest_one(monkeypatch, capsys, verb, line):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, verb)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"{line}\n")


def test_configs_and_schemas_are_found_by_name(tmp_path, monkeypatch):
    assert Config.read("demo") == Config.read(ROOT / "configs" / "demo.yaml")
    assert Schema.read("demo") == Schema.read(ROOT / "configs" / "schemas" / "demo.yaml")
    (tmp_path / "demo").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert Config.read("demo").name == "mine"  # a file is preferred to a name
    (tmp_path / "pretrained").mkdir()
    assert Config.read("pretrained").name == "pretrained"  # and a name to a folder
    assert yaml_files.find("demo.yaml", yaml_files.CONFIGS, "the config").name == "demo.yaml"


def test_an_unknown_config_name_lists_the_names():
    with pytest.raises(InputError, match="pretraned: the config is neither a file nor one of demo"):
        Config.read("pretraned")
    with pytest.raises(InputError, match="did you mean 'pretrained'"):
        Config.read("pretraned")


def test_the_demo_runs_verbs_in_the_order_of_data_flow(tmp_path):
    verbs = [command[0] for command in demo.commands(tmp_path, 100, ["train.epochs=1"])]
    assert verbs == ["draw", "build", "train", "export", "predict", "evaluate"]
    assert set(verbs) <= set(cli.VERBS)
