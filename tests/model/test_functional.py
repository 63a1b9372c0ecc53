"""Claims about `model/functional.py`, of a network of Keras and a layer that does nothing."""

from __future__ import annotations

import keras
import numpy as np

from attr_extractor.model import functional


def test_a_layer_is_read_by_all_that_take_what_it_gives():
    network = keras.applications.EfficientNetB0(False, None, input_shape=(64, 64, 3))
    readers = functional.readers(network)
    assert [layer.name for layer in readers["stem_conv_pad"]] == ["stem_conv"]
    squeezed = [layer.name for layer in readers["block1a_activation"]]
    assert sorted(squeezed) == ["block1a_se_excite", "block1a_se_squeeze"]
    assert "top_activation" not in readers  # the network's result


def test_what_stands_for_another_layer_passes_on_what_it_gets():
    x = np.random.default_rng(0).normal(size=[2, 3]).astype(np.float32)
    layer = functional.Identity.from_config(functional.Identity(name="a").get_config())
    assert layer.name == "a" and not layer.weights
    np.testing.assert_array_equal(layer(x, training=True), x)
