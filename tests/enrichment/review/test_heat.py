"""Tests of `review/heat.py`: the heat map of explain.py, on the photo of the page."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.catalogue import boxes, photos
from attr_extractor.enrichment.review import heat
from attr_extractor.enrichment.review.heat import Heat
from attr_extractor.errors import InputError
from attr_extractor.evaluation.explain.explainer import Explainer
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.conftest import SCHEMA
from tests.enrichment.by_hand import cell
from tests.enrichment.review.by_hand import options, running
from tests.web.browser import chromium
from tests.web.running import ask

NAME = "images/000_0.jpg"


def test_the_heat_map_is_of_the_stored_photo_in_the_size_of_the_page(trained, schema, tmp_path):
    large = tmp_path / "images" / "large.png"
    large.parent.mkdir()
    with Image.open(trained.path / NAME) as photo:
        photo.resize((400, 500)).save(large)
    drawn = Heat(trained.run, schema, tmp_path)
    found = drawn.drawn("images/large.png", "", 0, "neck_type", "v-neck")
    picture = np.asarray(Image.open(io.BytesIO(found)), float)
    assert picture.shape == (500, 400, 3)

    run = RunDir.read(trained.run)
    stored = photos.store(large.read_bytes(), run.origin.photo_short_side)
    pixels = tf.io.decode_jpeg(stored.encoded, dct_method="INTEGER_ACCURATE").numpy()
    expected = Explainer(run).heat(pixels, "neck_type", "v-neck")
    # red minus blue, compared with the photo itself
    plain = np.asarray(Image.open(large).convert("RGB"), float)
    tint = (picture - plain)[..., 0] - (picture - plain)[..., 2]
    grown = np.asarray(Image.fromarray(expected).resize((400, 500), Image.Resampling.BILINEAR))
    assert tint[grown > 0.8].mean() > tint[(grown > 0.2) & (grown < 0.4)].mean() + 50
    assert np.abs((picture - plain)[grown < 0.01]).mean() < 5  # no evidence: the photo itself


def test_the_heat_map_of_a_product_with_a_box_is_of_the_cropped_photo(trained, schema, tmp_path):
    wide = Image.new("RGB", (900, 300), "white")
    with Image.open(trained.path / NAME) as photo:
        wide.paste(photo.resize((300, 300)), (500, 0))
    wide.save(tmp_path / "wide.png")
    wide.crop((500, 0, 800, 300)).save(tmp_path / "cut.png")
    drawn = Heat(trained.run, schema, tmp_path)
    boxed = drawn.drawn("wide.png", boxes.join(["500", "0", "800", "300"]), 0, "color", "red")
    assert boxed == drawn.drawn("cut.png", "", 0, "color", "red") and boxed is not None


def test_a_picture_is_computed_once(trained, schema, monkeypatch):
    drawn = Heat(trained.run, schema, trained.path)
    asked = []
    explained = drawn._explainer.heat
    monkeypatch.setattr(drawn._explainer, "heat", lambda *a: asked.append(a) or explained(*a))
    pictures = [drawn.drawn(NAME, "", 0, "color", value) for value in ("red", "blue", "red")]
    assert len(asked) == 2 and pictures[0] == pictures[2]


def test_a_run_of_another_schema_is_refused(trained):
    wider = Schema.parse(SCHEMA.replace("no neck]", "no neck, collar]"), "test")
    with pytest.raises(InputError, match="the run directory: made with another schema"):
        Heat(trained.run, wider, trained.path)


def test_a_photo_without_evidence_is_an_error(trained, tmp_path, monkeypatch):
    with running(options(trained, tmp_path, [cell()], run_dir=trained.run)) as served:
        assert json.loads(ask(f"{served.address}api/page")[1])["heat"] is True
        status, body, headers = ask(f"{served.address}heat/1/0?value=v-neck")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        for query, code in (("", 400), ("?value=red", 400), ("?value=V-Neck", 400)):
            assert ask(f"{served.address}heat/1/0{query}")[0] == code
        assert ask(f"{served.address}heat/1/1?value=v-neck")[0] == 404
        cold = heat.Explainer.heat
        monkeypatch.setattr(heat.Explainer, "heat", lambda *a: 0 * cold(*a))
        status, body, _ = ask(f"{served.address}heat/1/0?value=no%20neck")
        assert status == 404 and b"no region of the photo is evidence for 'no neck'" in body


def test_the_page_shows_the_heat_map_of_the_chosen_value(trained, tmp_path):
    with_run = options(trained, tmp_path, [cell()], run_dir=trained.run)
    with running(with_run) as served, chromium() as page:
        page.open(served.address)
        source = page.find("#photo").get_attribute("src")
        page.keys("h")
        page.wait_for("Red: evidence for round neck", "#photo-note")
        assert page.find("#photo").get_attribute("src").endswith("/heat/1/0?value=round%20neck")
        assert page.find("#heat").get_attribute("aria-pressed") == "true"
        page.find("#heat-value").send_keys("v-neck")
        page.wait_for("Red: evidence for v-neck", "#photo-note")
        page.click("#heat")
        page.wait(lambda: page.find("#photo").get_attribute("src") == source)
        assert page.errors() == []
