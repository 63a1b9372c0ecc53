"""Test `serving/precision.py`: bfloat16 where it does not change the answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.model.answers import Answers
from attr_extractor.serving import export, model_dir, precision
from attr_extractor.training.run_dir import RunDir
from tests.serving.test_fold import SCHEMA


def test_an_answer_is_equal_only_if_all_values_of_its_attribute_are():
    answers = Answers(SCHEMA, np.full(5, 0.5, np.float32))
    expected = np.float32([[0.9, 0.1, 0.1, 0.6, 0.7], [0.2, 0.8, 0.7, 0.1, 0.1]])
    scores = np.float32([[0.8, 0.1, 0.1, 0.6, 0.4], [0.2, 0.7, 0.8, 0.1, 0.1]])
    found = precision.difference(answers, scores, expected)
    # the colours of the first photo, and the kind of the second: its best value is another one
    assert found.equal == 0.5
    assert found.largest == pytest.approx(0.3)


def test_a_bfloat16_export_records_its_precision_and_keeps_the_answers(exported, tmp_path):
    path = export.export(exported.run, tmp_path / "shop", precision="bfloat16")
    facts = json.loads((path / "assets" / "model.json").read_text("utf-8"))
    assert facts["precision"] == "bfloat16" and facts["bfloat16_side"] > 0
    run = RunDir.read(exported.run)
    network, answers = run.load_network(), run.answers()
    model = model_dir.load(path)
    kernels = {variable.dtype for variable in model.network.variables}
    assert tf.bfloat16 in kernels
    for pixels in precision.photos(run, None, "validation"):
        scores, embedding = model.network(pixels)
        assert scores.dtype == embedding.dtype == tf.float32
        expected = network.flat_scores(pixels).numpy()
        assert not np.array_equal(scores, expected)
        np.testing.assert_allclose(scores, expected, atol=0.05)
        assert precision.difference(answers, scores.numpy(), expected).equal > 0.9


def test_the_float32_export_has_no_bfloat16(exported):
    facts = json.loads((exported.model / "1" / "assets" / "model.json").read_text("utf-8"))
    assert (facts["precision"], facts["bfloat16_side"]) == ("float32", 0)
    model = model_dir.load(exported.model / "1")
    assert {variable.dtype for variable in model.network.variables} == {tf.float32}


def test_bfloat16_that_changes_too_many_answers_is_not_exported(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "LEAST_EQUAL", 1.01)
    with pytest.raises(InputError, match="--precision=bfloat16: even from the last map on only"):
        export.export(exported.run, tmp_path / "shop", precision="bfloat16")
    assert not list((tmp_path / "shop").glob("*"))


def test_records_that_are_missing_are_an_input_error(exported, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        export.export(
            exported.run,
            tmp_path / "shop",
            precision="bfloat16",
            records=tmp_path / "nowhere",
        )
