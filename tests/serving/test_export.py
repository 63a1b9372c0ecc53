"""Test the exported model: plain TensorFlow, without this package, returns the run's answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from tensorflow.core.protobuf import saved_model_pb2

from attr_extractor import ownership
from attr_extractor.catalogue import photos
from attr_extractor.config import Config
from attr_extractor.errors import InputError, TemporaryError
from attr_extractor.evaluation import model_card
from attr_extractor.model import network
from attr_extractor.model.answers import Answers
from attr_extractor.model.attention import TransformerBlock
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.records import pixels
from attr_extractor.schema import Schema
from attr_extractor.serving import export, model_dir, served_model, verify
from attr_extractor.training.run_dir import RunDir
from tests.conftest import files_of_at_most

NAMES = ["001_0.jpg", "002_0.jpg", "003_0.jpg", "010_1.jpg"]

# Runs with plain TensorFlow: this package and packages that add ops cannot be imported.
CLIENT = """
import sys
for name in ("attr_extractor", "keras_cv", "tensorflow_addons"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
model, out, *photos = sys.argv[1:]
served = tf.saved_model.load(model).signatures["serving_default"]
answers = served(image_bytes=tf.constant([open(path, "rb").read() for path in photos]))
np.savez(out, **{name: answer.numpy().astype(
    "S" if answer.dtype == tf.string else "f4") for name, answer in answers.items()})
"""


def photo_bytes(shop) -> list[bytes]:
    return [(shop.path / "images" / name).read_bytes() for name in NAMES]


def in_model(files: list[bytes], image_size: int = 32, square: str = "squeeze") -> np.ndarray:
    """Return the pixels of raw files as a table's photos have them: stored, then resized."""
    stored = [photos.store(file, 64).encoded for file in files]
    return np.stack([pixels.from_stored(photo, image_size, square) for photo in stored])


def keras_scores(shop) -> np.ndarray:
    """Return float32 [B, V] of the trained Keras model, from its per-attribute outputs."""
    run = RunDir.read(shop.run)
    data = run.config.data
    inputs = in_model(photo_bytes(shop), data.image_size, data.square)
    outputs = run.load_network().scores_model()(inputs, training=False)
    return np.concatenate([outputs[name] for name in run.schema.names], axis=1)


def by_hand(
    schema: Schema, scores: np.ndarray, threshold: float | np.ndarray
) -> dict[str, np.ndarray]:
    """Return the expected answers: above threshold, best of an exclusive attribute, 5 at most."""
    answers: dict[str, list] = {}
    for attribute in schema.attributes:
        size = 1 if attribute.exclusive else min(5, len(attribute.values))
        words, numbers = [], []
        for row in scores[:, schema.slices[attribute.name]]:
            limits = np.broadcast_to(threshold, schema.num_values)[schema.slices[attribute.name]]
            above = [(-score, i) for i, score in enumerate(row) if score > limits[i]]
            kept = sorted(above)[:size]
            padding = size - len(kept)
            words.append([attribute.values[i].encode() for _, i in kept] + [b""] * padding)
            numbers.append([-score for score, _ in kept] + [0.0] * padding)
        answers[attribute.name] = np.array(words)
        answers[f"{attribute.name}_score"] = np.array(numbers, np.float32)
    return answers


def assert_answers(actual, expected) -> None:
    assert set(actual) == {*expected, "error"}
    for name, answer in expected.items():
        value = np.asarray(actual[name])
        if name.endswith("_score"):
            np.testing.assert_allclose(value, answer, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(value.astype("S"), answer.astype("S"), err_msg=name)


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported.model / "1")).signatures


def run_isolated(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a process that finds neither this package nor the repository."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return subprocess.run(
        [sys.executable, "-I", *map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_plain_tensorflow_returns_the_answers_computed_from_keras_scores(exported, tmp_path):
    paths = [exported.path / "images" / name for name in NAMES]
    out = tmp_path / "answers.npz"
    result = run_isolated("-c", CLIENT, exported.model / "1", out, *paths, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    scores = keras_scores(exported)
    schema = Schema.read(exported.schema_file)
    with np.load(out) as found:
        assert_answers(found, by_hand(schema, scores, 0.5))
        assert found["error"].tolist() == [b""] * len(NAMES)


def test_saved_model_cli_runs_the_default_signature(exported, tmp_path):
    np.save(tmp_path / "photos.npy", np.array(photo_bytes(exported)[:2]))
    result = run_isolated(
        *["-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", exported.model / "1"],
        *["--tag_set", "serve", "--signature_def", "serving_default"],
        *["--inputs", f"image_bytes={tmp_path / 'photos.npy'}", "--outdir", tmp_path / "out"],
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    schema = Schema.read(exported.schema_file)
    expected = by_hand(schema, keras_scores(exported)[:2], 0.5)
    found = np.load(tmp_path / "out" / "category.npy", allow_pickle=True)
    assert found.tolist() == expected["category"].tolist()
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(schema.names) + 1


def test_signatures_have_the_documented_names_dtypes_and_shapes(served, schema):
    files = {"image_bytes": (tf.string, [None])}
    inputs = {
        "serving_default": files,
        "tf_example": {"examples": (tf.string, [None])},
        "embedding": files,
        "with_threshold": {**files, "threshold": (tf.float32, [None])},
        "pixels": {"pixels": (tf.uint8, [None, 32, 32, 3])},
        "product": {"image_bytes": (tf.string, [None, None])},
        "product_with_box": {
            "image_bytes": (tf.string, [None, None]),
            "box": (tf.int32, [None, None, 4]),
        },
        "scores": files,
        "stored_scores": {"stored": (tf.string, [None])},
        "description": {"rows": (tf.string, [None])},
    }
    answers = {"error": (tf.string, [None])}
    for name, size in {"category": 1, "neck_type": 1, "color": 3, "closure": 1}.items():
        answers[name] = (tf.string, [None, size])
        answers[f"{name}_score"] = (tf.float32, [None, size])
    error = {"error": (tf.string, [None]), "model": (tf.string, [None])}
    scores = {"scores": (tf.float32, [None, 11]), "names": (tf.string, [None, 11]), **error}
    embedding = {"embedding": (tf.float32, [None, 160]), **error}
    description = {"model_json": (tf.string, [None]), "schema_yaml": (tf.string, [None])}
    assert set(served) == set(inputs)
    for name, signature in served.items():
        taken = signature.structured_input_signature[1]
        given = signature.structured_outputs
        assert {k: (v.dtype, v.shape.as_list()) for k, v in taken.items()} == inputs[name]
        others = {"scores": scores, "stored_scores": scores}
        others |= {"embedding": embedding, "description": description}
        expected = others.get(name, answers)
        assert {k: (v.dtype, v.shape.as_list()) for k, v in given.items()} == expected


def test_the_scores_and_pixels_signatures_agree_with_keras(exported, served, schema):
    expected = keras_scores(exported)
    scores = served["scores"](image_bytes=tf.constant(photo_bytes(exported)))["scores"].numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    inputs = tf.constant(in_model(photo_bytes(exported)))
    assert_answers(served["pixels"](pixels=inputs), by_hand(schema, expected, 0.5))


def test_the_scores_signature_repeats_the_value_names_in_every_row(served, exported, schema):
    names = served["scores"](image_bytes=tf.constant(photo_bytes(exported)))["names"].numpy()
    assert names.shape == (4, 11)
    expected = [f"{a.name}={value}".encode() for a in schema.attributes for value in a.values]
    assert (names == np.array(expected)).all()


def test_an_embedding_is_the_pooled_features_scaled_to_length_1(exported, served):
    found = served["embedding"](image_bytes=tf.constant(photo_bytes(exported)))["embedding"]
    logits = RunDir.read(exported.run).load_network().logits
    # by hand, from what the attention block gives for each position
    inputs = in_model(photo_bytes(exported))
    pooled = logits.get_layer("transformer-block")
    block = TransformerBlock.from_config(pooled.get_config())
    before = logits.get_layer("feature-map").output
    positions = tf.keras.Model(logits.inputs, before)(inputs, training=False)
    block.build(positions.shape)
    block.set_weights(pooled.get_weights())
    features = block(positions).numpy().mean(axis=1)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_examples_of_records_get_the_answers_of_their_photos(exported, served):
    shards = sorted((exported.path / "records").glob("**/*test*.tfrecord*"))
    examples = [e.numpy() for e in tf.data.TFRecordDataset([str(s) for s in shards]).take(3)]
    parsed = [tf.train.Example.FromString(e).features.feature for e in examples]
    stored = [feature["image/encoded"].bytes_list.value[0] for feature in parsed]
    found = served["tf_example"](examples=tf.constant(examples))
    inputs = tf.stack([pixels.from_stored(photo, 32, "squeeze") for photo in stored])
    expected = served["pixels"](pixels=inputs)
    assert len(stored) and set(found) == set(expected)
    for name, answer in expected.items():
        np.testing.assert_array_equal(found[name], answer, err_msg=name)


def test_a_threshold_per_request_applies_to_its_photo_only(exported, served, schema):
    limits = [0.0, 0.3, 0.9, 1.0]
    found = served["with_threshold"](
        image_bytes=tf.constant(photo_bytes(exported)), threshold=tf.constant(limits)
    )
    scores = keras_scores(exported)
    for i, limit in enumerate(limits):
        row = {name: answer[i : i + 1].numpy() for name, answer in found.items()}
        assert_answers(row, by_hand(schema, scores[i : i + 1], limit))
    # 0 keeps all three colours, best first; 1 leaves no answer at all
    assert found["color"].numpy()[0].all() and not found["color"].numpy()[3].any()
    assert not any(found[name].numpy()[3].any() for name in schema.names)


def test_a_product_has_the_means_of_its_photos_scores(exported, served, schema):
    files = photo_bytes(exported)
    scores = keras_scores(exported)
    rows = [[files[0], b"", files[1]], [b"", b"no photo", files[2]], [b"", b"", b""]]
    found = served["product"](image_bytes=tf.constant(rows))
    expected = by_hand(schema, np.stack([(scores[0] + scores[1]) / 2, scores[2]]), 0.5)
    assert_answers({name: answer[:2].numpy() for name, answer in found.items()}, expected)
    errors = ["", "photo 2: not a JPEG, PNG, GIF or BMP image", "no photo"]
    assert [error.decode() for error in found["error"].numpy()] == errors
    assert not any(found[name].numpy()[2].any() for name in expected)


def test_a_product_box_is_cut_from_its_photo(exported, served, schema):
    files = photo_bytes(exported)[:2]
    boxes = [(8, 4, 40, 60), (0, 0, 0, 0)]
    cut = photos.store(files[0], 64, photos.Box(*boxes[0])).encoded
    whole = photos.store(files[1], 64).encoded
    inputs = np.stack([pixels.from_stored(photo, 32, "squeeze") for photo in (cut, whole)])
    scores = RunDir.read(exported.run).load_network().flat_scores(inputs).numpy()
    found = served["product_with_box"](
        image_bytes=tf.constant([files]), box=tf.constant([boxes], tf.int32)
    )
    assert_answers(found, by_hand(schema, scores.mean(axis=0, keepdims=True), 0.5))
    assert np.abs(scores[0] - keras_scores(exported)[0]).max() > 0.01  # the box matters


def test_a_broken_photo_gets_an_error_and_other_rows_are_bit_equal(exported, served):
    good = photo_bytes(exported)
    mixed = [good[0], b"not a photo", good[1], b"", good[2], good[3][:300], good[3]]
    found = served["serving_default"](image_bytes=tf.constant(mixed))
    # of the same batch size, because the last bit of a product of matrices may depend on it
    whole = [good[0], good[3], good[1], good[3], good[2], good[0], good[3]]
    for name, answer in served["serving_default"](image_bytes=tf.constant(whole)).items():
        keep = [0, 2, 4, 6]
        np.testing.assert_array_equal(found[name].numpy()[keep], answer.numpy()[keep], name)
    errors = found["error"].numpy()
    assert [bool(error) for error in errors] == [False, True, False, True, False, True, False]
    for i in (1, 3, 5):
        words = [answer.numpy()[i] for name, answer in found.items() if name != "error"]
        assert not any(word.any() for word in words)  # "" and 0: no answer


def test_the_graph_contains_ops_of_plain_tensorflow_only(exported):
    content = (exported.model / "1" / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    ops = {node.op for node in nodes} - {f.signature.name for f in graph.library.function}
    assert len(ops) > 40 and "DecodeJpeg" in ops  # the function library was looked into
    listed = run_isolated(
        "-c",
        "from tensorflow.python.framework import op_def_registry, ops\n"
        "import json, sys, tensorflow\n"
        "print(json.dumps([op_def_registry.get(name) is not None for name in sys.argv[1:]]))",
        *sorted(ops),
        cwd=exported.path,
    )
    known = dict(zip(sorted(ops), json.loads(listed.stdout.splitlines()[-1])))
    assert [op for op in ops if not known[op]] == []
    assert not [node.name for node in nodes if node.attr["_XlaMustCompile"].b]
    for part in ("pyfunc", "addons>", "decodebase64", ">"):
        assert [op for op in ops if part in op.lower()] == []


@pytest.mark.parametrize("quantile", [0.0, 0.8])
def test_an_attribute_of_many_values_returns_its_five_best_in_order(quantile):
    text = """
    name: wide
    category: kind
    attributes:
      - {name: kind, values: [a, b]}
      - {name: occasion, exclusive: false, values: [v0, v1, v2, v3, v4, v5, v6, v7]}
    """
    wide = Schema.parse(text, "test")
    config = Config.model_validate(
        {
            "name": "wide",
            "data": {"image_size": 32},
            "model": {"trunk": "small_cnn", "weights": "none", "fuse_stages": 1},
        }
    )
    tf.keras.utils.set_random_seed(0)
    built = network.build(wide, config)
    inputs = np.random.default_rng(0).integers(0, 256, [3, 32, 32, 3], dtype=np.uint8)
    scores = tf.sigmoid(built.logits(inputs, training=False)).numpy()
    limit = float(np.quantile(scores[:, 2:], quantile)) - 1e-3 * (not quantile)
    answers = Answers(wide, np.full(wide.num_values, limit, np.float32))
    facts = model_dir.ModelFacts(
        name="wide",
        fingerprint=wide.fingerprint,
        photo_short_side=64,
        image_size=32,
        square="squeeze",
        thresholds=Thresholds.of_schema(wide),
        gate_by_category=False,
    )
    served = served_model.ServedModel(built, answers, facts, [])
    found = served.signatures()["pixels"](pixels=tf.constant(inputs))
    assert found["occasion"].shape == [3, 5]
    above = (scores[:, 2:] > limit).sum(axis=1)
    assert (above < 5).any() if quantile else (above == 8).all()
    assert_answers(found, by_hand(wide, scores, limit))


def test_assets_contain_the_schema_and_the_photo_settings(exported):
    assets = exported.model / "1" / "assets"
    facts = json.loads((assets / "model.json").read_text(encoding="utf-8"))
    schema = Schema.read(assets / "schema.yaml")
    expected = Schema.read(exported.schema_file)
    assert facts["fingerprint"] == schema.fingerprint == expected.fingerprint
    assert schema == expected
    assert (facts["photo_short_side"], facts["image_size"], facts["square"]) == (64, 32, "squeeze")
    assert facts["thresholds"] == Thresholds.of_schema(schema).model_dump()


@pytest.mark.parametrize("softmax", [False, True])
def test_the_runs_temperatures_thresholds_and_next_version_are_exported(
    exported, tmp_path, softmax
):
    shutil.copytree(exported.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    schema = RunDir.read(exported.run).schema
    if softmax:
        config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
        config = config.replace("exclusive_output: sigmoid", "exclusive_output: softmax")
        (tmp_path / "run" / "config.yaml").write_text(config, encoding="utf-8")
    plain = RunDir.read(tmp_path / "run").load_network()
    temperatures = {"category": 0.7, "neck_type": 1.0, "color": 3.0, "closure": 1.9}
    limits = {"category": 0.5, "neck_type": 0.99, "color": 0.4, "closure": 0.0}
    content = {
        "fingerprint": schema.fingerprint,
        "attributes": {
            name: {"threshold": limit, "temperature": temperatures[name]}
            for name, limit in limits.items()
        },
    }
    content["attributes"]["color"]["values"] = {"green": 1.0}
    (tmp_path / "run" / "thresholds.json").write_text(json.dumps(content), encoding="utf-8")
    for version in ("9", "2", "notes"):
        (tmp_path / "models" / version).mkdir(parents=True)
    written = export.export(tmp_path / "run", tmp_path / "models")
    assert written == tmp_path / "models" / "10"
    model = model_dir.load(tmp_path / "models")
    assert model.path == written  # the highest by number, not by spelling
    inputs = in_model(photo_bytes(exported))
    logits = plain.logits(inputs, training=False).numpy()
    parts = {name: logits[:, w] / temperatures[name] for name, w in schema.slices.items()}
    scores = np.concatenate(
        [
            special.softmax(z, axis=1) if softmax and schema[name].exclusive else special.expit(z)
            for name, z in parts.items()
        ],
        axis=1,
    )
    per_value = np.repeat(list(limits.values()), schema.sizes)
    per_value[schema.slices["color"].start + 1] = 1.0  # green
    found = model.signatures["serving_default"](image_bytes=tf.constant(photo_bytes(exported)))
    assert_answers(found, by_hand(schema, scores, per_value))
    assert found["color"].numpy().any() and b"green" not in found["color"].numpy()
    # the same in Python, and in the Keras model with an output per attribute
    run = RunDir.read(tmp_path / "run")
    network = run.load_network()
    np.testing.assert_allclose(network.flat_scores(inputs), scores, atol=1e-5)
    outputs = network.scores_model()(inputs, training=False)
    np.testing.assert_allclose(np.concatenate(list(outputs.values()), 1), scores, atol=1e-5)
    answers = run.answers()
    in_python = answers.strings(tf.constant(scores), answers.chosen(scores))
    assert_answers(found, {name: answer.numpy() for name, answer in in_python.items()})
    np.testing.assert_array_equal(model.answers.thresholds, answers.thresholds)
    # a threshold per request takes the place of all of them
    low = tf.zeros([len(inputs)])
    found = model.signatures["with_threshold"](
        image_bytes=tf.constant(photo_bytes(exported)), threshold=low
    )
    assert_answers(found, by_hand(schema, scores, 0.0))


def test_an_existing_version_is_rejected_and_unchanged(exported, tmp_path):
    (tmp_path / "models" / "3").mkdir(parents=True)
    (tmp_path / "models" / "3" / "saved_model.pb").write_bytes(b"precious")
    with pytest.raises(InputError, match="3: this version exists"):
        export.export(exported.run, tmp_path / "models", version=3)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["3"]
    assert (tmp_path / "models" / "3" / "saved_model.pb").read_bytes() == b"precious"


def test_an_invalid_model_name_is_rejected_before_anything_is_written(exported, tmp_path):
    with pytest.raises(InputError, match="the folder's name is the model's"):
        export.export(exported.run, tmp_path / "sh$op")
    assert not (tmp_path / "sh$op").exists()


def test_a_failed_export_leaves_nothing_behind(exported, tmp_path, monkeypatch):
    def disagree(path, *_):
        assert (path / "saved_model.pb").is_file()  # there was something half finished
        raise RuntimeError("scores differ")

    monkeypatch.setattr(export, "verify", disagree)
    with pytest.raises(RuntimeError, match="scores differ"):
        export.export(exported.run, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_full_disk_is_an_input_error_and_leaves_no_version(exported, tmp_path):
    with files_of_at_most(20_000), pytest.raises(InputError, match="cannot be written") as caught:
        export.export(exported.run, tmp_path / "model")
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("signature", "output"),
    [
        ("scores", "scores"),
        ("embedding", "embedding"),
        ("serving_default", "color_score"),
        ("tf_example", "color_score"),
        ("pixels", "color_score"),
        ("with_threshold", "color_score"),
        ("product", "color_score"),
        ("product_with_box", "color_score"),
        ("stored_scores", "scores"),
        ("", ""),
    ],
)
def test_every_signature_is_verified_against_the_network(exported, monkeypatch, signature, output):
    load = tf.saved_model.load

    def load_disturbed(path):
        module = load(path)

        def disturbed(**inputs):
            outputs = module.signatures[signature](**inputs)
            return {**outputs, output: outputs[output] + 2e-4}

        signatures = {**module.signatures, signature: disturbed}
        return types.SimpleNamespace(
            module=module, signatures=signatures, network=module.network, digest=module.digest
        )

    monkeypatch.setattr(tf.saved_model, "load", load_disturbed)
    run = RunDir.read(exported.run)
    rejected = pytest.raises(RuntimeError, match="the exported model's .* differ from the run's")
    with rejected if signature else contextlib.nullcontext():
        verify.verify(exported.model / "1", verify.trained(run.load_network()), run.answers())


def test_a_graph_with_python_ops_is_not_exported(exported, tmp_path, monkeypatch):
    read = served_model.ServedModel._read

    def through_python(served, image_bytes):
        same = tf.numpy_function(lambda x: x, [image_bytes], tf.string)
        return read(served, tf.ensure_shape(same, [None]))

    monkeypatch.setattr(served_model.ServedModel, "_read", through_python)
    with pytest.raises(RuntimeError, match="TF Serving does not run PyFunc"):
        export.export(exported.run, tmp_path / "models")


def test_a_second_export_is_rejected_and_leftovers_of_a_killed_one_are_removed(exported, tmp_path):
    models = tmp_path / "models"
    (models / ".7.tmp" / "version").mkdir(parents=True)
    (models / ".notes.tmp").write_text("the user's own", encoding="utf-8")
    with ownership.folder(models, "it"), pytest.raises(TemporaryError, match="is writing to it"):
        export.export(exported.run, models)
    assert sorted(path.name for path in models.iterdir()) == [".7.tmp", ".notes.tmp"]
    assert export.export(exported.run, models).name == "1"
    assert sorted(path.name for path in models.iterdir()) == [".notes.tmp", "1", "deployment"]


def test_the_model_card_of_the_run_is_exported(exported, tmp_path):
    shutil.copytree(exported.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    card, page = (tmp_path / "run" / name for name in (model_card.CARD, model_card.PAGE))
    for each in (card, page):
        each.unlink(missing_ok=True)
    path = export.export(tmp_path / "run", tmp_path / "models")
    assert not list((path / "assets").glob("model_card*"))
    model_card.write_card(RunDir.read(tmp_path / "run"))
    asked = "<!-- entry: contact -->\n"
    written = page.read_text(encoding="utf-8").replace(f"{asked}_to fill in_", f"{asked}the shop")
    page.write_text(written, encoding="utf-8")
    path = export.export(tmp_path / "run", tmp_path / "models")
    assert (path / "assets" / page.name).read_text(encoding="utf-8") == written
    held = json.loads((path / "assets" / card.name).read_text(encoding="utf-8"))
    assert held["entries"]["contact"] == "the shop" and held["name"] == "test"


def test_warm_up_requests_cover_every_signature_with_one_row_and_with_eight(exported, served):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    file = exported.model / "1" / "assets.extra" / "tf_serving_warmup_requests"
    counts: Counter = Counter()
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        assert request.model_spec.name == exported.model.name
        inputs = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        (rows,) = {len(array) for array in inputs.values()}
        outputs = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert {len(output) for output in outputs.values()} == {rows}
        assert not any(outputs.get("error", tf.constant([""])).numpy())
        counts[name, rows] += 1
    assert counts == {(name, rows): 1 for name in served for rows in (1, 8)}
