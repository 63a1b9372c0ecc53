"""Tests of config.py: a YAML file, then `--set section.key=value`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from attr_extractor.config import Config
from attr_extractor.errors import InputError
from tests.conftest import ROOT

MINIMAL = """
name: test
data: {batch_size: 8, image_size: 224}
model: {attention: {num_heads: 4}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(MINIMAL, encoding="utf-8")
    return tmp_path / "config.yaml"


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_defaults_are_the_recommended_recipe(path: Path):
    assert Config(name="pretrained") == Config.read(ROOT / "configs/pretrained.yaml")
    config = Config.read(path)
    assert config.data.batch_size == 8 and config.model.attention.num_heads == 4
    assert config.train == Config(name="any").train


def test_paper_yaml_has_the_papers_numbers():
    config = Config.read(ROOT / "configs/paper.yaml")
    paper = (config.data.image_size, config.train.learning_rate, config.train.decay)
    assert paper == (224, 1e-5, 0.75)
    augmentation = config.augmentation
    ranges = (augmentation.zoom, augmentation.shift, augmentation.rotation, augmentation.shear)
    assert ranges == (0.2, 0.2, 20.0, 16.0)
    assert (config.train.epochs, config.loss.normalize_by, config.augmentation.flip) == (
        15,
        "batch",
        0.5,
    )


def test_overrides_replace_one_key_in_order_and_leave_its_neighbours(path: Path):
    overrides = ["train.epochs=3", "model.attention.key_dim=8", "data.square=pad", "train.epochs=4"]
    config = Config.read(path, [*overrides, "model.hidden=[4, 5]", "name=other"])
    assert (config.train.epochs, config.data.square, config.name) == (4, "pad", "other")
    assert config.model.hidden == [4, 5]
    assert (config.model.attention.key_dim, config.model.attention.num_heads) == (8, 4)


def test_1e_3_is_a_number_in_a_file_and_in_an_override(path: Path):
    for text, number in {"1e-3": 0.001, "2E-4": 0.0002, "1.5e1": 15.0, "1": 1.0}.items():
        assert Config.read(path, [f"train.learning_rate={text}"]).train.learning_rate == number
        written = write(path.with_name("x.yaml"), f"name: x\ntrain: {{learning_rate: {text}}}")
        assert Config.read(written).train.learning_rate == number


def test_the_value_of_an_override_may_contain_an_equals_sign(path: Path):
    assert Config.read(path, ["model.weights=a=b.h5"]).model.weights == "a=b.h5"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ["train.epoch: unknown key", "did you mean 'epochs'?"]),
        ("model.attention.num_head=3", ["model.attention.num_head", "mean 'num_heads'?"]),
        ("trian.epochs=3", ["trian: unknown key", "did you mean 'train'?"]),
        ("train.epochs=three", ["train.epochs", "valid integer", "not 'three'"]),
        ("train.epochs=3.5", ["train.epochs", "integer", "3.5"]),
        ("train.epochs='3'", ["train.epochs", "valid integer", "not '3'"]),
        ("train.epochs=true", ["train.epochs", "valid integer", "not True"]),
        ("train.epochs=", ["train.epochs", "valid integer", "not None"]),
        ("train.epochs=0", ["train.epochs", "greater than or equal to 1", "not 0"]),
        ("train.learning_rate=.inf", ["train.learning_rate", "finite"]),
        ("train.learning_rate=.nan", ["train.learning_rate"]),
        ("train.keep=first", ["train.keep", "'best' or 'last'", "not 'first'"]),
        ("data.square=squeze", ["data.square", "did you mean 'squeeze'?"]),
        ("augmentation.enabled=yes", ["augmentation.enabled", "valid boolean", "not 'yes'"]),
        ("data=3", ["data: a mapping of keys is required, not 3"]),
        ("name=5", ["name", "valid string", "not 5; write it in quotes"]),
        ("model.hidden=[1]", ["model.hidden", "at least 2 items"]),
        ("train.optimizer=adam", ["train: weight_decay needs optimizer: adamw"]),
        ("model.fuse_stages=0", ["model.fuse_stages", "greater than or equal to 1"]),
        ("model.dropout=1", ["model.dropout", "less than 1"]),
        ("model.exclusive_output=softmx", ["model.exclusive_output", "did you mean 'softmax'?"]),
        ("model.context.width=0", ["model.context.width", "greater than or equal to 1"]),
        ("loss.kind=focl", ["loss.kind", "did you mean 'focal'?"]),
        ("loss.gamma=-1", ["loss.gamma", "greater than or equal to 0"]),
        ("loss.margin=1", ["loss.margin", "less than 1"]),
        ("loss.class_balance=1", ["loss.class_balance", "less than 1"]),
        ("train.average=1", ["train.average", "less than 1"]),
        ("train.trunk_rate=-1", ["train.trunk_rate", "greater than or equal to 0"]),
        ("train.clip_norm=-1", ["train.clip_norm", "greater than or equal to 0"]),
        ("train.xla=on", ["train.xla", "'off', 'activations' or 'step'", "'on'"]),
        ("train.image_sizes={1: 224}", ["train: image_sizes", "from 0 on", "not [1]"]),
        ("train.image_sizes={0: 64, 9: 96, 4: 224}", ["ascending", "not [0, 9, 4]"]),
        ("train.image_sizes={-1: 64, 0: 224}", ["from 0 on", "not [-1, 0]"]),
        ("train.image_sizes={0: 64, 24: 224}", ["below 24", "not [0, 24]"]),
        ("train.image_sizes={0: 64, 4: 96}", ["image_sizes ends at 96", "image_size is 224"]),
        ("train.image_sizes={0: 8, 4: 224}", ["train.image_sizes", "or equal to 32", "not 8"]),
        ("train.image_sizes={a: 224}", ["train.image_sizes", "valid integer", "'a'"]),
        ("train.image_sizes=224", ["train.image_sizes", "not 224"]),
        ("name.x=5", ["--set name.x=5", "'name' is not a section"]),
        ("train.epochs", ["--set train.epochs", "section.key=value"]),
        ("=5", ["--set =5", "section.key=value"]),
        ("train.epochs=[3", ["--set train.epochs=[3", "not valid YAML"]),
    ],
)
def test_an_error_names_the_key_and_the_fix_in_one_line(path: Path, override: str, words):
    with pytest.raises(InputError) as caught:
        Config.read(path, [override])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keys_of_older_versions_are_accepted_where_they_are_off(path: Path):
    older = ["augmentation.cutout=0.0", "model.attention.learned_positions=false"]
    assert Config.read(path, older) == Config.read(path)
    for override in ("augmentation.cutout=0.3", "model.attention.learned_positions=true"):
        with pytest.raises(InputError, match="unknown key"):
            Config.read(path, [override])


def test_paper_yaml_enables_nothing_beyond_the_paper():
    config = Config.read(ROOT / "configs/paper.yaml")
    assert (config.loss.kind, config.loss.missing, config.loss.class_balance) == (
        "cross_entropy",
        "mask",
        0.0,
    )
    model, train = config.model, config.train
    assert (model.fuse_stages, model.dropout, model.context.names) == (1, 0.0, [])
    assert model.exclusive_output == "sigmoid"
    assert (train.average, train.clip_norm, train.freeze_trunk_epochs) == (0.0, 0.0, 0)
    assert (train.trunk_rate, train.first_layer_rate, train.image_sizes) == (1.0, 1.0, {})
    assert (train.weight_decay, train.precision, train.warmup_epochs) == (0.0, "float32", 0.0)
    augmentation = config.augmentation
    assert augmentation.mixup == augmentation.cutmix == 0


def test_an_unmasked_loss_requires_sigmoid_outputs(path: Path):
    off, softmax = "loss.missing=absent", "model.exclusive_output=softmax"
    with pytest.raises(InputError, match="missing: absent needs model.exclusive_output: sigmoid"):
        Config.read(path, [off, softmax])


def test_the_mask_of_older_versions_is_read(path: Path):
    assert Config.read(path, ["loss.mask=false"]).loss.missing == "absent"
    assert Config.read(path, ["loss.mask=true"]).loss.missing == "mask"


def test_image_sizes_by_epoch_round_trip_through_yaml_and_json(path: Path, tmp_path: Path):
    config = Config.read(path, ["train.image_sizes={0: 64, 4: 96, 9: 224}"])
    config.write(tmp_path / "copy.yaml")
    assert Config.read(tmp_path / "copy.yaml") == config
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_an_error_in_the_file_names_the_file(path: Path):
    with pytest.raises(InputError, match="config.yaml: dat: unknown key; did you mean 'data'"):
        Config.read(write(path, "name: x\ndat: {}"))


def test_a_written_config_has_every_key_and_reads_back_equal(path: Path, tmp_path: Path):
    config = Config.read(path, ["train.learning_rate=1e-7", "model.weights='yes'"])
    config.write(tmp_path / "copy.yaml")
    assert Config.read(tmp_path / "copy.yaml") == config
    content = yaml.safe_load((tmp_path / "copy.yaml").read_text(encoding="utf-8"))
    assert set(content) == set(Config.model_fields)
    assert content["data"]["square"] == "squeeze"


def test_the_shipped_configs_read():
    shipped = sorted((ROOT / "configs").glob("*.yaml"))
    assert {path.stem for path in shipped} >= {"demo", "pretrained", "paper"}
    for path in shipped:
        assert Config.read(path).name == path.stem
