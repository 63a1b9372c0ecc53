"""Tests of explanations: scores of the exported model, heat, and pictures of photo files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import photos
from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain.explain_photos import explain_photos, read_photo
from attr_extractor.evaluation.explain.explainer import Explainer, find_value
from attr_extractor.serving import model_dir
from attr_extractor.training.run_dir import RunDir
from tests.conftest import require_bad_input, run_tool


@pytest.fixture(scope="module")
def explainer(trained) -> Explainer:
    return Explainer(RunDir.read(trained.run))


@pytest.fixture
def batch(trained) -> list[np.ndarray]:
    names = sorted(path for path in (trained.path / "images").iterdir())[:3]
    return [read_photo(str(name), 64) for name in names]


def test_scores_equal_those_of_the_exported_model(explainer, exported):
    path = sorted((exported.path / "images").iterdir())[0]
    short_side = explainer.run.origin.photo_short_side
    file = tf.constant([path.read_bytes()])
    served = model_dir.load(exported.model).signatures["scores"](image_bytes=file)
    photo = read_photo(str(path), short_side)
    for attribute in explainer.schema.attributes:
        where = explainer.schema.slices[attribute.name]
        for value, score in zip(attribute.values, served["scores"].numpy()[0, where]):
            (found,) = explainer.explain([photo], attribute.name, value)[0]
            assert found.score == pytest.approx(score, abs=1e-5)
            assert (found.attribute, found.value) == (attribute.name, value)


def test_without_an_attribute_every_answered_value_is_explained(explainer, batch):
    scores = explainer._network.flat_scores(explainer._pixels(batch))
    answered = explainer.run.answers().chosen(scores).numpy()
    found = explainer.explain(batch)
    assert [len(of_photo) for of_photo in found] == answered.sum(1).tolist()


def test_the_best_value_is_explained_if_none_is_answered(trained, tmp_path, batch):
    shutil.copytree(trained.run, tmp_path / "run")
    path = tmp_path / "run" / "thresholds.json"
    thresholds = json.loads(path.read_text(encoding="utf-8"))
    for attribute in thresholds["attributes"].values():
        attribute.update(threshold=1.0, values={})
    path.write_text(json.dumps(thresholds), encoding="utf-8")
    strict = Explainer(RunDir.read(tmp_path / "run"))
    assert strict.explain(batch) == [[], [], []]
    closure = strict.schema["closure"]
    by_value = [strict.explain(batch, "closure", value) for value in closure.values]
    for i, of_photo in enumerate(strict.explain(batch, "closure")):
        best = np.argmax([explained[i][0].score for explained in by_value])
        assert [each.value for each in of_photo] == [closure.values[best]]


def test_heat_has_the_photos_size_and_does_not_depend_on_the_batch(explainer, batch):
    together = explainer.explain(batch, "color", "red")
    for photo, (found,) in zip(batch, together):
        assert found.heat.shape == photo.shape[:2]
        assert found.heat.min() >= 0 and found.heat.max() in (0, 1)
        np.testing.assert_allclose(explainer.heat(photo, "color", "red"), found.heat, atol=1e-3)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("colour", None, "no attribute 'colour'; did you mean 'color'?"),
        ("color", "redd", "color has no value 'redd'; did you mean 'red'?"),
        (None, "red", "the value 'red' requires its attribute"),
    ],
)
def test_an_unknown_attribute_or_value_is_bad_input(schema, attribute, value, words):
    with pytest.raises(InputError, match=words.replace("?", r"\?")):
        find_value(schema, attribute, value)


def test_a_value_is_found_by_its_synonym(schema):
    assert find_value(schema, "neck_type", "V Neck") == schema.slices["neck_type"].start


def test_pictures_and_a_page_are_written(trained, tmp_path):
    rotated = tmp_path / "it's <turned>.png"
    image = Image.open(trained.path / "images" / "001_0.jpg")
    image.rotate(90).save(rotated)
    images = [str(trained.path / "images" / "000_0.jpg"), str(rotated)]
    page, count = explain_photos(trained.run, images, "neck_type", "round neck", tmp_path / "out")
    assert count == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "001-000_0.attention.jpg",
        "001-000_0.neck_type.1-round_neck.jpg",
        "002-it_s_turned_.attention.jpg",
        "002-it_s_turned_.neck_type.1-round_neck.jpg",
        "index.html",
    ]
    assert all(Image.open(page.parent / name).size[0] >= 240 for name in names[:-1])
    text = page.read_text(encoding="utf-8")
    assert text.count("<img ") == 6 and "it&#39;s &lt;turned&gt;.png" in text


def test_a_run_without_attention_has_no_attention_maps(trained, tmp_path, batch):
    shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("weights.npz"))
    run = RunDir.read(trained.run)
    off = run.config.model.attention.model_copy(update={"enabled": False})
    model = run.config.model.model_copy(update={"attention": off})
    run.config.model_copy(update={"model": model}).write(tmp_path / "run" / "config.yaml")
    arrays = np.load(trained.run / "weights.npz")
    kept = {name: arrays[name] for name in arrays.files if "transformer" not in name}
    np.savez(tmp_path / "run" / "weights.npz", **kept)
    explainer = Explainer(RunDir.read(tmp_path / "run"))
    assert not explainer.has_attention
    assert explainer.heat(batch[0], "color", "red").shape == batch[0].shape[:2]
    with pytest.raises(InputError, match="has no attention"):
        explainer.attended(batch)


def test_an_unreadable_photo_is_bad_input_with_its_path(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"text")
    for path, reason in [
        (tmp_path / "a.jpg", photos.NOT_AN_IMAGE),
        (tmp_path / "b.jpg", "image not found"),
        ("http://shop.example/a.jpg", "web address"),
    ]:
        with pytest.raises(InputError, match=reason) as error:
            read_photo(str(path), 64)
        assert str(path) in str(error.value)


def test_the_program_reports_bad_input_in_one_line(trained):
    flags = [f"--run_dir={trained.run}", "--images=nowhere.jpg", "--attribute=color"]
    require_bad_input(run_tool("explain", *flags, "--value=blu"), "did you mean 'blue'?")
