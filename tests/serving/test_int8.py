"""Test `serving/int8.py`: operations stay in float32 if int8 changes too many answers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from attr_extractor.model.answers import Answers
from attr_extractor.serving import convert, int8, model_dir


@pytest.mark.slow  # a search of some minutes
def test_operations_return_to_float32_until_the_answers_are_kept(exported, monkeypatch):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setattr(int8, "_RANKING_PHOTOS", 8)
    files = sorted(exported.path.glob("images/*.jpg"))[:16]
    pixels = np.stack([np.asarray(Image.open(file).resize([32, 32])) for file in files])
    loaded = model_dir.load(exported.model)
    function = convert.scores_function(loaded.network).get_concrete_function()
    expected = loaded.network(pixels)[0].numpy()
    # thresholds in the middle of the scores: small errors change answers
    answers = Answers(loaded.schema, np.median(expected, axis=0))

    def quantized(kept):
        """Return the number of quantized tensors and the share of equal answers."""
        monkeypatch.setattr(int8, "KEPT", kept)
        calibration = int8.Calibration(pixels, answers)
        model = int8.quantize(openvino.convert_model(function), calibration)
        count = sum(step.get_type_name() == "FakeQuantize" for step in model.get_ops())
        network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        before, after = (answers.chosen(s).numpy() for s in (expected, network(pixels)[0]))
        same = before == after
        columns = loaded.schema.slices.values()
        return count, np.mean([same[:, where].all(axis=1).mean() for where in columns])

    every, equal = quantized(0.0)
    assert equal < 0.99
    fewer, kept = quantized(equal + 0.01)
    assert fewer < every
    # the search compares with OpenVINO's float32, whose scores differ by float error
    assert kept > equal
