"""Tests of migration/start.py: kept values score as before, new values start at their prior."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from attr_extractor import files
from attr_extractor.config import Config
from attr_extractor.enrichment.migration import start
from attr_extractor.enrichment.migration.mapping import Mapping
from attr_extractor.enrichment.migration.migrate import migrate
from attr_extractor.errors import InputError
from attr_extractor.model import network
from attr_extractor.model.thresholds import OfAttribute, Thresholds
from attr_extractor.records import dataset, relabel
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training import fit
from attr_extractor.training.run_dir import RunDir
from tests.conftest import SCHEMA, Shop, require_bad_input, run_tool
from tests.enrichment.migration.by_hand import MAPPING, MOVES, NEW_SCHEMA, SAME
from tests.records.by_hand import InProcess


@dataclass(frozen=True)
class Moved:
    """The shop's run, migrated to the new schema."""

    path: Path
    old: RunDir
    said: str

    records = property(lambda self: self.path / "records")
    run = property(lambda self: RunDir.read(self.path / "start"))
    manifest = property(lambda self: Manifest.read(self.records))
    flags = property(
        lambda self: [
            f"--schema={self.path / 'new.yaml'}",
            f"--mapping={self.path / 'm.yaml'}",
            f"--run_dir={self.old.path}",
            f"--records={self.records}",
        ]
    )


@pytest.fixture(scope="module")
def moved(trained: Shop, tmp_path_factory) -> Moved:
    path = tmp_path_factory.mktemp("moved")
    (path / "new.yaml").write_text(NEW_SCHEMA, encoding="utf-8")
    (path / "m.yaml").write_text(MAPPING, encoding="utf-8")
    table = path / "table.csv"
    migrate(path / "new.yaml", path / "m.yaml", trained.schema_file, trained.catalogue, table)
    # the seller has filled in some of what is new: every fourth product has a pocket
    lines = table.read_text(encoding="utf-8").splitlines()
    filled = [line + ("patch", "welt", "welt", "welt")[i % 4] for i, line in enumerate(lines[1:])]
    table.write_text("\n".join([lines[0], *filled]) + "\n", encoding="utf-8")
    shutil.copytree(trained.records, path / "records")
    relabel.relabel(table, Schema.read(path / "new.yaml"), path / "records", InProcess())
    run = path / "old_run"
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    limits = RunDir.read(run).thresholds()
    own = {
        "closure": OfAttribute(
            threshold=0.5, temperature=2.0, goal="f1", values={"button": 0.25, "zip": 0.75}
        ),
        "color": OfAttribute(threshold=0.4, temperature=0.5, goal="f1", values={"red": 0.125}),
    }
    limits = limits.model_copy(update={"attributes": {**limits.attributes, **own}})
    files.write_json(run / "thresholds.json", limits.model_dump())
    said = migrate(
        path / "new.yaml",
        path / "m.yaml",
        run_dir=run,
        records=path / "records",
        output_dir=path / "start",
    )
    return Moved(path, RunDir.read(run), said)


def photos(run: RunDir) -> np.ndarray:
    """uint8 [N, H, W, 3]: the validation split."""
    manifest = Manifest.read(run.records)
    batches = dataset.evaluation_batches(run.records, manifest, run.config.data, "validation")
    return np.concatenate([batch["pixels"].numpy() for batch in batches])


def outputs(run: RunDir, pixels: np.ndarray, logits: bool = False) -> dict[str, np.ndarray]:
    """Scores, or logits, float32 [N] by `attribute=value`."""
    built = run.load_network()
    found = built.logits(pixels, training=False) if logits else built.flat_scores(pixels)
    return dict(zip(run.schema.value_names, found.numpy().T))


def test_the_summary_of_a_migrated_run(moved):
    assert moved.said.startswith(MOVES)
    assert moved.said.endswith(f"start with --set train.init_from={moved.path / 'start'}")


def test_every_kept_value_scores_as_before(moved):
    pixels = photos(moved.old)
    before, after = outputs(moved.old, pixels), outputs(moved.run, pixels)
    for old, new in SAME.items():
        assert before[old].std() > 0  # the network is not constant
        np.testing.assert_allclose(after[new], before[old], rtol=0, atol=1e-6, err_msg=new)


def test_merged_values_start_at_the_mean_and_split_values_lower_by_log_2(moved):
    pixels = photos(moved.old)
    before, after = outputs(moved.old, pixels, True), outputs(moved.run, pixels, True)
    mean = (before["closure=button"] + before["closure=zip"]) / 2
    np.testing.assert_allclose(after["closure=fastened"], mean, atol=1e-5)
    for part in ("dark red", "light red"):
        lower = before["color=red"] - 0.6931472
        np.testing.assert_allclose(after[f"color={part}"], lower, atol=1e-5)


def test_trunk_and_attention_stay_bit_identical(moved):
    before, after = (np.load(r.path / "weights.npz") for r in (moved.old, moved.run))
    assert before.files == after.files
    same = [n for n in before.files if not n.startswith("branches-fused/")]
    assert len(same) > 20
    for name in same:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_hidden_layers_of_a_kept_branch_stay_bit_identical(moved):
    layers = [r.load_network().logits.get_layer(network.BRANCHES) for r in (moved.old, moved.run)]
    schemas = [moved.old.schema, moved.run.schema]
    for names in [("category",) * 2, ("neck_type", "neckline"), ("color",) * 2, ("closure",) * 2]:
        before, after = (
            layer.branch_weights(schema.index[name])
            for layer, schema, name in zip(layers, schemas, names)
        )
        for key in ("kernel1", "bias1", "kernel2", "bias2"):
            np.testing.assert_array_equal(getattr(after, key), getattr(before, key))


def test_new_values_start_at_their_prior(moved):
    after = outputs(moved.run, photos(moved.old))
    schema = moved.run.schema
    biases = np.load(moved.run.path / "weights.npz")["branches-fused/5"]
    bias = dict(zip(schema.value_names, biases))
    priors = dict(zip(schema.value_names, moved.manifest.frequencies("train")))
    assert 0.1 < priors["pocket=patch"] < 0.4 and priors["neckline=halter"] == 0
    for name in ("pocket=patch", "pocket=welt", "color=black", "neckline=halter"):
        prior = np.clip(priors[name], 1e-4, 1 - 1e-4)
        assert bias[name] == pytest.approx(np.log(prior / (1 - prior)), rel=1e-5)
        assert after[name].mean() == pytest.approx(priors[name], abs=1e-3)


def test_thresholds_and_temperatures_are_migrated(moved):
    found = moved.run.thresholds().attributes
    assert found["pocket"] == OfAttribute(threshold=0.5)
    assert found["closure"].temperature == 2.0
    assert found["closure"].values == {"fastened": 0.5}  # the mean of 0.25 and 0.75
    assert found["color"].threshold == 0.4 and found["color"].temperature == 0.5
    assert found["color"].values == {"dark red": 0.125, "light red": 0.125, "black": 0.5}


def test_a_merged_threshold_is_the_mean(schema):
    plan = Mapping(values={"closure": {"fastened": ["button", "zip"]}}).plan(
        schema, Schema.parse(SCHEMA.replace("button, zip", "fastened"), "new"), "m.yaml"
    )
    limits = Thresholds.of_schema(schema)
    own = OfAttribute(threshold=0.3, values={"button": 0.2})
    limits = limits.model_copy(update={"attributes": {**limits.attributes, "closure": own}})
    found = start.migrate_thresholds(plan, limits).attributes["closure"]
    assert found.values == {"fastened": pytest.approx(0.25)}
    assert found.threshold == 0.3


def test_a_training_starts_from_the_migrated_run(moved, tmp_path):
    """Adam moves a weight by about the learning rate per step; new values are trained as well."""
    content = Config.read(moved.old.path / "config.yaml").model_dump()
    rate, steps = 1e-4, 12
    content["train"].update(
        epochs=1, learning_rate=rate, schedule="constant", warmup_epochs=0.0, keep="last"
    )
    content["train"]["init_from"] = str(moved.run.path)
    run = fit.train(Config.model_validate(content), moved.records, tmp_path / "run")
    before, after = (np.load(r.path / "weights.npz") for r in (moved.run, run))
    trained = [name for name in before.files if "bn" not in name]  # others: batch statistics
    moves = {name: np.abs(after[name] - before[name]).max() for name in trained}
    assert max(moves.values()) < 2 * steps * rate
    layers = [r.load_network().logits.get_layer(network.BRANCHES) for r in (moved.run, run)]
    pocket = moved.run.schema.index["pocket"]
    before, after = (layer.branch_weights(pocket) for layer in layers)
    for name, old, new in zip(before._fields, before, after):
        assert (new != old).any(), name


def wide_schema(values: list[str], extra: list[str]) -> str:
    """Return a schema with an attribute of many values between two small ones."""
    content = yaml.safe_load(SCHEMA)
    content["attributes"][1:1] = [{"name": name, "values": ["x", "y"]} for name in extra] + [
        {"name": "brand", "values": values}
    ]
    return yaml.safe_dump(content)


def test_reordered_values_keep_their_weights_in_branches_and_evidence(moved, tmp_path):
    """Reorder 70 values and insert two new ones: the scores of kept values stay the same."""
    brands = [f"b{i}" for i in range(70)]
    old = Schema.parse(wide_schema(brands, []), "old")
    new = Schema.parse(wide_schema(["new1", *reversed(brands), "new2"], ["fit"]), "new")
    content = moved.old.config.model_dump()
    content["model"].update(context={"known": True, "width": 5}, attention={"enabled": False})
    config, path = Config.model_validate(content), tmp_path / "run"
    path.mkdir()
    old.write(path / "schema.yaml")
    config.write(path / "config.yaml")
    origin = moved.old.origin.model_copy(update={"fingerprint": old.fingerprint})
    files.write_json(path / "records.json", origin.model_dump())
    files.write_json(path / "thresholds.json", Thresholds.of_schema(old).model_dump())
    generator = np.random.default_rng(0)
    arrays = network.layer_arrays(network.build(old, config).trained)
    for name in arrays:
        if name.startswith("evidence-of-context/"):
            arrays[name] = generator.normal(size=arrays[name].shape).astype(np.float32)
    files.write_arrays(path / "weights.npz", arrays)
    run = RunDir.read(path)
    mapping = Mapping(added=["fit", "brand=new1", "brand=new2"])

    class Priors:
        frequencies = staticmethod(lambda split: np.full(new.num_values, 0.1))

    plan = mapping.plan(old, new, "m.yaml")
    after = network.build(new, config)
    network.set_layer_arrays(after.trained, start.migrate_weights(plan, run, Priors), "start")
    pixels = photos(moved.old)
    before = run.load_network()
    was = before.logits(pixels, training=False).numpy()
    now = after.logits(pixels, training=False).numpy()
    for v, name in enumerate(old.value_names):
        kept = now[:, new.value_names.index(name)]
        np.testing.assert_allclose(kept, was[:, v], rtol=0, atol=2e-5, err_msg=name)
    assert np.ptp(was, axis=1).min() > 1  # values that change places would show
    known = np.zeros([len(old.value_names), len(old.value_names)], np.int8)
    np.fill_diagonal(known, 1)  # each old value alone
    moved_known = np.zeros([len(known), new.num_values], np.int8)
    places = [new.value_names.index(name) for name in old.value_names]
    moved_known[:, places] = known
    was, now = (
        n.evidence({"known": k}).numpy() for n, k in ((before, known), (after, moved_known))
    )
    np.testing.assert_allclose(now[:, places], was, atol=1e-4)
    assert np.abs(was).max() > 1 and not np.delete(now, places, axis=1).any()
    added = np.delete(np.eye(new.num_values, dtype=np.int8), places, axis=0)
    assert not after.evidence({"known": added}).numpy().any()  # new values are no evidence yet


def test_bad_input_raises_and_writes_nothing(moved, tmp_path):
    output = tmp_path / "start"
    other = tmp_path / "other.yaml"
    other.write_text(SCHEMA.replace("drawstring", "cord"), encoding="utf-8")
    flags = [*moved.flags, f"--output_dir={output}"]
    require_bad_input(
        run_tool("migrate_schema", *flags, f"--old_schema={other}"),
        f"{moved.old.path}: made with another schema",
    )
    require_bad_input(
        run_tool("migrate_schema", *moved.flags, f"--output_dir={moved.run.path}"),
        f"{moved.run.path}: exists already",
    )
    with pytest.raises(InputError, match="another schema"):
        migrate(
            moved.path / "new.yaml",
            moved.path / "m.yaml",
            run_dir=moved.old.path,
            records=moved.old.records,
            output_dir=output,
        )
    assert not output.exists()


def test_a_merged_attribute_starts_from_the_branch_of_the_first(trained, tmp_path):
    """closure and neck_type become `details`; the mapping names closure first."""
    content = yaml.safe_load(SCHEMA)
    values = ["v-neck", "zip", "button", "drawstring", "no neck", "round neck"]
    kept = [a for a in content["attributes"] if a["name"] not in ("closure", "neck_type")]
    details = {"name": "details", "exclusive": False, "values": values}
    content["attributes"] = [details, *kept]
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (tmp_path / "m.yaml").write_text(
        "{attributes: {details: [closure, neck_type]}, changed: [details]}", encoding="utf-8"
    )
    names = (tmp_path / "new.yaml", tmp_path / "m.yaml")
    table, records = tmp_path / "table.csv", tmp_path / "records"
    migrate(*names, trained.schema_file, trained.catalogue, table)
    shutil.copytree(trained.records, records)
    manifest = relabel.relabel(table, Schema.read(names[0]), records, InProcess())
    migrate(*names, run_dir=trained.run, records=records, output_dir=tmp_path / "start")
    old, new = RunDir.read(trained.run), RunDir.read(tmp_path / "start")
    pixels = photos(old)
    before, after = outputs(old, pixels), outputs(new, pixels)
    for value in ("zip", "button", "drawstring"):
        np.testing.assert_allclose(
            after[f"details={value}"], before[f"closure={value}"], rtol=0, atol=1e-6
        )
    for value in ("v-neck", "round neck", "no neck"):
        prior = manifest.frequencies("train")[new.schema.value_names.index(f"details={value}")]
        assert np.ptp(after[f"details={value}"]) == 0
        np.testing.assert_allclose(after[f"details={value}"][0], prior, atol=0.05)
    for value in ("color=red", "category=shirt"):
        np.testing.assert_allclose(after[value], before[value], rtol=0, atol=1e-6)
