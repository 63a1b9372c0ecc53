"""Test `serving/parts.py`: same scores, no duplicate computation, one thread per part."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model import network
from attr_extractor.serving import export
from attr_extractor.serving.fold import fold
from attr_extractor.serving.parts import Parts
from tests.serving.test_fold import build, nodes, photos_of

loaded = pytest.importorskip("attr_extractor.serving.server.loaded")
slow = pytest.mark.slow


def require_equal(built: network.Network, count: int, size: int = 64) -> None:
    """Compare the folded network in parts with the trained network."""
    photos = photos_of(size)
    parts = tf.function(Parts(fold(built), count))
    logits, features = (tensor.numpy() for tensor in parts(tf.constant(photos)))
    pooled = built.logits.get_layer(network.POOLED).output
    both = keras.Model(built.logits.inputs, [built.logits.outputs[0], pooled])
    expected = [tensor.numpy() for tensor in both(photos, training=False)]
    differences = np.abs(expected[0][0] - expected[0][1]).max()
    assert differences > 0.01 * np.abs(expected[0]).max()  # the photos matter
    np.testing.assert_allclose(logits, expected[0], atol=1e-3 * differences)
    np.testing.assert_allclose(features, expected[1], atol=1e-3 * np.abs(expected[1]).max())


@pytest.mark.parametrize(
    ("trunk", "count", "size"),
    [
        ("efficientnetb0", 2, 64),
        ("efficientnetlite0", 2, 64),
        pytest.param("efficientnetb0", 3, 64, marks=slow),  # no count of channels that 3 divides
        pytest.param("efficientnetv2b0", 2, 64, marks=slow),
        pytest.param("resnet50", 2, 64, marks=slow),
        ("mobilenetv3small", 3, 75),
        pytest.param("inceptionv3", 2, 96, marks=slow),
        ("convnexttiny", 2, 64),
        pytest.param("vgg16", 2, 64, marks=slow),
        ("small_cnn", 1, 64),
        ("small_cnn", 2, 64),
        ("small_cnn", 40, 64),  # more than heads and attributes
    ],
)
def test_parts_return_the_logits_and_features_of_the_network(trunk, count, size):
    require_equal(build(trunk, size), count, size)


def test_parts_of_a_network_in_pytorchs_style_return_its_logits_and_features():
    require_equal(build("efficientnetb0", style="pytorch"), 2)


@pytest.mark.parametrize(
    "model",
    [
        {"attention": {"enabled": False}},
        {"fuse_stages": 2},
    ],
)
def test_parts_support_every_option_of_the_network(model):
    require_equal(build("small_cnn", **model), 2)


@pytest.mark.parametrize("trunk", ["efficientnetlite0", "efficientnetb0"])
def test_parts_in_bfloat16_return_the_logits_of_the_undivided_network(trunk):
    built = build(trunk, fuse_stages=3)
    photos = tf.constant(photos_of(64))
    served = fold(built, bfloat16_side=8)
    logits, features = tf.function(Parts(served, 2))(photos)
    expected, expected_features = served(photos, training=False)
    assert (logits.dtype, features.dtype) == (expected.dtype, expected_features.dtype)
    trained = built.logits(photos, training=False).numpy()
    differences = np.abs(trained[0] - trained[1]).max()
    # sums of parts are rounded once more: no more than bfloat16's own error
    np.testing.assert_allclose(logits, trained, atol=0.2 * differences)
    assert not np.array_equal(logits, trained)


def kernels(function) -> list[tuple[str, tuple[int, ...]]]:
    """Return the op and shape of each constant kernel of convolutions and products."""
    found = nodes(function)
    by_name = {node.name: node for node in found}
    return [
        (node.op, tuple(tf.make_ndarray(by_name[node.input[1]].attr["value"].tensor).shape))
        for node in found
        if node.op in ("Conv2D", "DepthwiseConv2dNative", "MatMul")
        and by_name[node.input[1].split(":")[0]].op == "Const"
    ]


def test_parts_divide_every_kernel_evenly_without_duplicate_computation():
    served = fold(build("efficientnetb0"))
    whole = kernels(tf.function(lambda pixels: served(pixels, training=False)))
    halves = kernels(tf.function(Parts(served, 2)))
    assert len(halves) == 2 * len(whole)
    assert sorted(op for op, _ in halves) == sorted([op for op, _ in whole] * 2)
    numbers = [int(np.prod(shape)) for _, shape in whole]
    by_two = sorted(2 * int(np.prod(shape)) for _, shape in halves)
    assert by_two == sorted(numbers * 2)  # all of its channels are even


@pytest.fixture(scope="module")
def in_parts(exported, tmp_path_factory):
    """Export the run in two parts."""
    models = tmp_path_factory.mktemp("parts") / "shop"
    export.export(exported.run, models, parts=2)
    return models


def test_an_export_in_parts_records_them_and_its_configs_use_one_thread(in_parts):
    facts = json.loads((in_parts / "1" / "assets" / "model.json").read_text("utf-8"))
    assert facts["parts"] == 2
    for file in ("docker-compose.yaml", "kubernetes.yaml"):
        text = (in_parts / "deployment" / file).read_text("utf-8")
        assert "--tensorflow_intra_op_parallelism=1" in text


OUTSIDE = """
import sys
import numpy as np, tensorflow as tf
arrays = np.load(sys.argv[1])
for path in sys.argv[2:4]:
    found = tf.saved_model.load(path).signatures["pixels"](pixels=tf.constant(arrays["pixels"]))
    np.savez(path.replace("/", "_").strip("_"), **{k: v.numpy() for k, v in found.items()})
"""


def test_plain_tensorflow_returns_the_answers_of_the_undivided_version(
    exported, in_parts, tmp_path
):
    size = json.loads((exported.model / "1" / "assets" / "model.json").read_text())["image_size"]
    np.savez(tmp_path / "given.npz", pixels=photos_of(size, 6))
    paths = [str(exported.model / "1"), str(in_parts / "1")]
    program = [sys.executable, "-I", "-c", OUTSIDE, str(tmp_path / "given.npz"), *paths]
    subprocess.run(program, cwd=tmp_path, check=True, capture_output=True)
    whole, parts = (
        np.load(tmp_path / f"{path.replace('/', '_').strip('_')}.npz", allow_pickle=True)
        for path in paths
    )
    assert whole.files == parts.files and whole.files
    for name in whole.files:
        if whole[name].dtype.kind == "f":
            np.testing.assert_allclose(parts[name], whole[name], atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


@pytest.mark.parametrize(
    ("facts", "threads"),
    [({"parts": 2}, 1), ({"parts": 1}, 0), ({}, 0), (None, 0), ([2], 0)],  # 0: all cores
    ids=["parts", "one", "older", "foreign", "foreign of that name"],
)
def test_the_local_server_uses_one_thread_per_operation_for_parts(
    facts, threads, tmp_path, monkeypatch
):
    doubled = tf.Module()
    doubled.double = tf.function(
        lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")]
    )
    if facts is not None:
        (tmp_path / "model.json").write_text(json.dumps(facts))
        doubled.asset = tf.saved_model.Asset(str(tmp_path / "model.json"))
    tf.saved_model.save(doubled, str(tmp_path / "1"), signatures=doubled.double)
    configs = []
    session = tf.compat.v1.Session

    def recording(graph, config):
        configs.append(config)
        return session(graph=graph, config=config)

    monkeypatch.setattr(tf.compat.v1, "Session", recording)
    model = loaded.LoadedModel(tmp_path / "1")
    (found,) = model.signatures["serving_default"].call(np.float32([1, 3]))
    model.close()
    assert [config.intra_op_parallelism_threads for config in configs] == [threads]
    assert found.tolist() == [2, 6]
