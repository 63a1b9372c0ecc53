"""Test `serving/int8.py`: the trunk is in 8 bits, first convolutions and branches are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from attr_extractor.serving import convert, int8, model_dir

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def test_the_trunk_is_quantized_and_what_follows_it_is_not(exported):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    files = sorted(exported.path.glob("images/*.jpg"))[:16]
    pixels = np.stack([np.asarray(Image.open(file).resize([32, 32])) for file in files])
    loaded = model_dir.load(exported.model)
    function = convert.scores_function(loaded.network).get_concrete_function()
    quantized = int8.quantize(openvino.convert_model(function), pixels)
    operations = quantized.get_ordered_ops()
    convolutions = [o for o in operations if o.get_type_name() in CONVOLUTIONS]
    rounded = [
        any(s.get_source_output().get_node().get_type_name() == "FakeQuantize" for s in o.inputs())
        for o in convolutions
    ]
    assert not any(rounded[:2]) and all(rounded[2:]) and len(rounded) > 4
    # the branches multiply what no 8-bit range has cut
    products = [o for o in operations if o.get_type_name() == "MatMul"]
    assert products
    for product in products:
        for given in product.inputs():
            assert given.get_source_output().get_node().get_type_name() != "FakeQuantize"
    network = openvino.Core().compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected, found = loaded.network(pixels)[0].numpy(), network(pixels)[0]
    assert np.abs(found - expected).max() < 0.1 < np.ptp(expected)
