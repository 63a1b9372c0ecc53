"""Test `serving/fold.py`: the scores of the trained network, from fewer operations."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.config import Config
from attr_extractor.model import network, noise
from attr_extractor.schema import Schema
from attr_extractor.serving.fold import ConvolutionLayer, GlobalAverage, fold, sides

SCHEMA = Schema.parse(
    """
    name: small
    category: kind
    attributes:
      - {name: kind, values: [a, b, c]}
      - {name: colour, exclusive: false, values: [red, green]}
    """,
    "test",
)


def photos_of(size: int, count: int = 4, seed: int = 1) -> np.ndarray:
    """Return uint8 [count, size, size, 3]: smooth photos that differ from each other."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, [count, 4, 4, 3]).astype(np.uint8)
    return tf.cast(tf.image.resize(coarse, [size, size]), tf.uint8).numpy()


def build(trunk: str, size: int = 64, **model) -> network.Network:
    """Build a network whose weights all differ from their initial values, as after training."""
    keras.utils.set_random_seed(0)
    # Lite's fresh weights give hardly any logits
    weights = "imagenet" if trunk.startswith("efficientnetlite") else "none"
    plain = {"weights": weights, "fuse_stages": 1, "dropout": 0}
    model = {"trunk": trunk, "batch_norm_momentum": 0.01, **plain, **model}
    settings = {"name": "t", "data": {"image_size": size}, "model": model}
    built = network.build(SCHEMA, Config.model_validate(settings))
    generator = np.random.default_rng(0)
    for layer in built.logits.layers:
        if isinstance(layer, (keras.layers.BatchNormalization, network.PooledTransformerBlock)):
            arrays = layer.get_weights()
            layer.set_weights([generator.normal(array, 0.1) for array in arrays[:-2]] + arrays[-2:])
    with noise.keyed(tf.constant([0, 0])):
        built.logits(photos_of(size, 16, seed=2), training=True)  # the statistics follow
    return built


def nodes(function) -> list:
    graph = function.get_concrete_function(tf.TensorSpec([None, 64, 64, 3], tf.uint8)).graph
    definition = graph.as_graph_def()
    return [*definition.node, *(n for f in definition.library.function for n in f.node_def)]


@pytest.mark.parametrize(
    ("trunk", "size"),
    [
        ("efficientnetb0", 64),
        ("efficientnetlite0", 64),
        pytest.param("efficientnetv2b0", 64, marks=pytest.mark.slow),
        pytest.param("resnet50", 64, marks=pytest.mark.slow),
        ("mobilenetv3small", 64),
        ("mobilenetv3small", 75),  # odd sides are padded otherwise
        pytest.param("inceptionv3", 96, marks=pytest.mark.slow),
        ("small_cnn", 64),
        ("convnexttiny", 64),
        pytest.param("vgg16", 64, marks=pytest.mark.slow),
    ],
)
def test_the_folded_network_returns_the_logits_and_features_of_the_network(trunk, size):
    require_folded(build(trunk, size), size)


@pytest.mark.parametrize(
    "trunk", ["efficientnetb0", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_a_network_in_pytorchs_style_folds(trunk):
    require_folded(build(trunk, style="pytorch"), 64)


def require_folded(built: network.Network, size: int) -> None:
    """Verify that the folded network computes the logits and features of the network."""
    photos = photos_of(size)
    served = fold(built)
    logits, features = (tensor.numpy() for tensor in served(photos, training=False))
    expected = built.logits(photos, training=False).numpy()
    pooled = keras.Model(built.logits.inputs, built.logits.get_layer(network.POOLED).output)
    scale = np.abs(expected).max()
    differences = np.abs(expected[0] - expected[1]).max()
    assert differences > 0.01 * scale  # the photos matter
    np.testing.assert_allclose(logits, expected, atol=1e-3 * differences)
    expected = pooled(photos, training=False).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-3 * np.abs(expected).max())
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in served.layers)


def test_a_folded_efficientnet_has_constant_kernels_and_no_normalisation_or_padding():
    served = fold(build("efficientnetb0"))
    graph = tf.function(lambda pixels: served(pixels, training=False))
    found = nodes(graph)
    by_name = {node.name: node for node in found}
    ops = [node.op for node in found]
    assert not [op for op in ops if op.startswith(("FusedBatchNorm", "Pad"))]
    convolutions = [n for n in found if n.op in ("Conv2D", "DepthwiseConv2dNative")]
    assert len(convolutions) == 49  # 1 stem, 16 blocks of 3, one of them without its first, 1 top
    products = [n for n in found if n.op == "MatMul" and "_se_" in n.name]
    assert len(products) == 32  # two of each gate
    for node in convolutions + products:
        assert by_name[node.input[1]].op == "Const", node.name


def optimised(function, photos: np.ndarray) -> list:
    """Return the nodes that TensorFlow runs after its graph optimiser."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        pixels = tf.compat.v1.placeholder(tf.uint8, [None, *photos.shape[1:]])
        # the fetched tensor itself could not be fused
        logits = tf.identity(tf.cast(function(pixels), tf.float32))
        session.run(tf.compat.v1.global_variables_initializer())
        metadata = tf.compat.v1.RunMetadata()
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        session.run(logits, {pixels: photos}, options=options, run_metadata=metadata)
    return [node for part in metadata.partition_graphs for node in part.node]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensorflow_fuses_relu6_into_the_convolution_before_it(dtype):
    built = build("efficientnetlite0")
    layers = [layer for layer in fold(built).layers if isinstance(layer, ConvolutionLayer)]
    expand = next(layer for layer in layers if layer.name == "block1_expand_conv").folded
    given = np.zeros([1, 8, 8, expand.kernel.shape[2]], np.uint8)
    kernel = expand.kernel.astype(tf.as_dtype(dtype).as_numpy_dtype)
    offset = expand.offset.astype(kernel.dtype)

    def compute(pixels):
        convolution = dataclasses.replace(expand, kernel=kernel, offset=offset)
        return tf.reduce_sum(convolution(pixels), axis=[1, 2])

    found = optimised(compute, given)
    fused = [n.attr["fused_ops"].list.s for n in found if "FusedConv2D" in n.op]
    assert fused == [[b"BiasAdd", b"Relu6"]]
    assert not [node.op for node in found if node.op == "Relu6"]


def test_every_activation_directly_follows_the_bias_of_its_convolution():
    served = fold(build("efficientnetlite0"))
    found = nodes(tf.function(lambda pixels: served(pixels, training=False)))
    by_name = {node.name: node for node in found}
    activations = [node for node in found if node.op == "Relu6"]
    assert len(activations) == 33  # stem, top, 15 expansions, 16 depthwise convolutions
    assert {by_name[node.input[0]].op for node in activations} == {"BiasAdd"}


def test_an_activation_is_kept_if_another_layer_reads_its_input():
    built = build("small_cnn")
    model = built.logits
    convolution = next(layer for layer in model.layers if layer.name == "stem_conv")
    pixels = keras.Input([8, 8, 3])
    x = convolution.__class__.from_config(convolution.get_config())(pixels)
    both = keras.layers.Add()([keras.layers.ReLU(6.0)(x), x])
    features = keras.layers.GlobalAveragePooling2D(name=network.POOLED)(both)
    odd = dataclasses.replace(built, logits=keras.Model(pixels, keras.layers.Dense(5)(features)))
    photos = np.random.default_rng(2).normal(size=[2, 8, 8, 3]).astype(np.float32)
    expected = odd.logits(photos, training=False)
    np.testing.assert_allclose(fold(odd)(photos, training=False)[0], expected, atol=1e-5)


def test_bfloat16_begins_at_the_given_map_and_ends_before_the_branches():
    built = build("efficientnetlite0")
    assert sides(built) == [64, 32, 16, 8, 4, 2]
    served = fold(built, bfloat16_side=8)
    types = {
        layer.name: layer.folded.kernel.dtype
        for layer in served.layers
        if isinstance(layer, ConvolutionLayer)
    }
    narrow = {name for name, dtype in types.items() if dtype != np.float32}
    # block3 reads a map of 16 x 16 and returns one of 8 x 8
    first = {"stem_conv", "block3_expand_conv", "block3_dwconv"}
    first |= {f"block{i}_{kind}_conv" for i in range(3) for kind in ("expand", "project")}
    first |= {f"block{i}_dwconv" for i in range(3)}
    assert types.keys() - narrow == first - {"block0_expand_conv"}
    for name, dtype in ((network.ATTENTION, tf.bfloat16), (network.BRANCHES, tf.float32)):
        weights = served.get_layer(name).weights
        assert {tf.as_dtype(weight.dtype) for weight in weights} == {dtype}
    photos = photos_of(64)
    logits, features = served(photos, training=False)
    assert (logits.dtype, features.dtype) == (tf.float32, tf.bfloat16)
    expected = built.logits(photos, training=False).numpy()
    differences = np.abs(expected[0] - expected[1]).max()
    error = np.abs(logits - expected).max() / differences
    assert 1e-4 < error < 0.2, error


def test_the_mean_of_a_large_bfloat16_map_has_bfloat16s_precision():
    # sums of this many positive numbers in bfloat16 stop growing
    photos = np.random.default_rng(0).uniform(0, 6, [2, 96, 96, 8])
    given = tf.cast(photos, tf.bfloat16)
    expected = given.numpy().astype(np.float64).mean(axis=(1, 2))
    found = GlobalAverage(False, dtype="bfloat16")(given).numpy().astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=2**-8)


def test_a_normalisation_is_kept_if_its_convolution_has_another_reader():
    built = build("small_cnn")
    model = built.logits
    convolution = next(layer for layer in model.layers if layer.name == "stem_conv")
    norm = model.get_layer("stem_bn")
    pixels = keras.Input([8, 8, 3])
    x = convolution.__class__.from_config(convolution.get_config())(pixels)
    both = keras.layers.Add()([norm.__class__.from_config(norm.get_config())(x), x])
    features = keras.layers.GlobalAveragePooling2D(name=network.POOLED)(both)
    logits = keras.layers.Dense(5)(features)
    odd = dataclasses.replace(built, logits=keras.Model(pixels, logits))
    for layer in odd.logits.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.full_like(a, 0.5) for a in layer.get_weights()])
    photos = np.random.default_rng(2).normal(size=[2, 8, 8, 3]).astype(np.float32)
    served = fold(odd)
    found = served(photos, training=False)[0]
    np.testing.assert_allclose(found, odd.logits(photos, training=False), atol=1e-5)
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in served.layers)


def test_folding_does_not_change_the_network():
    built = build("small_cnn")
    before = network.layer_arrays(built.logits)
    fold(built)
    after = network.layer_arrays(built.logits)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    # one inbound node: of two Keras would not know which is meant
    assert built.logits.get_layer("stem_conv").output.shape[-1] == 16
