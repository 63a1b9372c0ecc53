"""Queries of a model's graph, compared with TensorFlow's convolutions and with Keras' networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.model import functional


@pytest.fixture(scope="module")
def efficientnet() -> keras.Model:
    return keras.applications.EfficientNetB0(False, None, input_shape=(64, 64, 3))


def test_readers_are_all_steps_that_use_a_layers_output(efficientnet):
    readers = functional.readers(efficientnet)
    assert [layer.name for layer in readers["stem_conv_pad"]] == ["stem_conv"]
    squeezed = [layer.name for layer in readers["block1a_activation"]]
    assert sorted(squeezed) == ["block1a_se_excite", "block1a_se_squeeze"]
    assert "top_activation" not in readers  # the network's result


def test_identity_returns_its_input():
    x = np.random.default_rng(0).normal(size=[2, 3]).astype(np.float32)
    layer = functional.Identity.from_config(functional.Identity(name="a").get_config())
    assert layer.name == "a" and not layer.weights
    np.testing.assert_array_equal(layer(x, training=True), x)


@pytest.mark.parametrize("size", [1, 5, 8, 9, 30])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_explicit_zeros_equal_same_padding(size, kernel, stride):
    generator = np.random.default_rng(0)
    x = generator.normal(size=[1, size, size, 2]).astype(np.float32)
    taps = generator.normal(size=[kernel, kernel, 2, 2]).astype(np.float32)
    zeros = functional.same_padding(size, kernel, stride)
    padded = np.pad(x, [(0, 0), zeros, zeros, (0, 0)])
    expected = tf.nn.conv2d(x, taps, stride, "SAME")
    np.testing.assert_allclose(tf.nn.conv2d(padded, taps, stride, "VALID"), expected, atol=1e-5)


def padded_by_keras(zeros, then, size=8) -> keras.Model:
    inputs = keras.Input([size, size, 3])
    return keras.Model(inputs, then(keras.layers.ZeroPadding2D(zeros, name="zeros")(inputs)))


@pytest.mark.parametrize(
    ("zeros", "layer", "size", "expected"),
    [
        (((0, 1), (0, 1)), keras.layers.Conv2D(4, 3, 2, name="it"), 8, True),
        (((1, 2), (1, 2)), keras.layers.DepthwiseConv2D(5, 2, name="it"), 8, True),
        (((1, 1), (1, 1)), keras.layers.Conv2D(4, 3, 2, name="it"), 9, True),
        (((1, 1), (1, 1)), keras.layers.Conv2D(4, 3, 2, name="it"), 8, False),  # the other way
        (((0, 1), (0, 1)), keras.layers.Conv2D(4, 3, 2, "same", name="it"), 8, False),
        (((2, 2), (2, 2)), keras.layers.Conv2D(4, 3, dilation_rate=2, name="it"), 8, False),
        (((0, 1), (0, 1)), keras.layers.MaxPooling2D(3, 2, name="it"), 8, False),
        (((1, 1), (1, 1)), keras.layers.Conv2DTranspose(4, 3, name="it"), 8, False),
    ],
)
def test_padding_is_needless_only_if_the_convolution_could_add_it(zeros, layer, size, expected):
    model = padded_by_keras(zeros, layer, size)
    assert functional.needless_padding(model) == ({"it": "zeros"} if expected else {})


def test_padding_with_a_second_reader_stays():
    def both(x):
        convolved = keras.layers.Conv2D(3, 3, 2)(x)
        return [convolved, keras.layers.ReLU()(x)]

    assert not functional.needless_padding(padded_by_keras(((0, 1), (0, 1)), both))


def test_padding_that_is_an_output_of_the_model_stays():
    inputs = keras.Input([8, 8, 3])
    padded = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs)
    assert not functional.needless_padding(
        keras.Model(inputs, [padded, keras.layers.Conv2D(4, 3, 2)(padded)])
    )
    assert not functional.needless_padding(keras.Model(inputs, padded))


def test_padding_of_channels_first_stays():
    inputs = keras.Input([3, 8, 8])  # where H and W were 3 and 8, this would be needless
    first = {"data_format": "channels_first"}
    padded = keras.layers.ZeroPadding2D(((1, 1), (0, 1)), **first)(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, 2, **first)(padded))
    assert functional.same_padding(3, 3, 2) == (1, 1) and functional.same_padding(8, 3, 2) == (0, 1)
    assert not functional.needless_padding(model)


def test_efficientnet_has_five_needless_paddings(efficientnet):
    found = functional.needless_padding(efficientnet)
    expected = ["stem_conv", *(f"block{i}a_dwconv" for i in (2, 3, 4, 6))]
    assert found == {name: f"{name}_pad" for name in expected}


class Block(keras.layers.Layer):
    """A layer with layers."""

    def __init__(self, name: str):
        super().__init__(name=name)
        self.dense, self.norm = keras.layers.Dense(2), keras.layers.LayerNormalization()


class Stack(keras.layers.Layer):
    """Blocks one after the other, then a normalisation."""

    def __init__(self, count: int):
        super().__init__(name="stack")
        self.blocks = [Block(f"block{i}") for i in range(count)]
        self.last = keras.layers.LayerNormalization(name="last")


def test_the_blocks_of_a_stack_are_its_parts_and_other_layers_are_whole():
    names = [part.name for part in functional.blocks(Stack(3))]
    assert names == ["block0", "block1", "block2", "last"]
    for layer in (Stack(1), Block("block"), keras.layers.Dense(2)):
        assert functional.blocks(layer) == [layer]
