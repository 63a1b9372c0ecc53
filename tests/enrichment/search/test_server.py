"""Tests of `search/server.py` over HTTP, and of the page in a headless browser."""

from __future__ import annotations

import base64
import io
import json
import shutil

import pytest
from PIL import Image

from attr_extractor.enrichment.search import server
from attr_extractor.enrichment.search.index import Filter, Index
from attr_extractor.enrichment.search.query import Embedder
from tests.conftest import require_bad_input, run_tool
from tests.web.browser import chromium
from tests.web.running import ask, running

pytestmark = pytest.mark.slow  # a browser


@pytest.fixture(scope="module")
def served(exported, indexed):
    options = server.SearchOptions(indexed, exported.model, port=0)
    with running(lambda: server.Server(options)) as started:
        yield started


def search(served, **body):
    status, content, _ = ask(f"{served.address}api/search", body)
    return status, json.loads(content)


def encoded(path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_query_by_photo_or_product_agrees_with_the_index(served, exported, indexed):
    embedder = Embedder(exported.model)
    index = Index(indexed, embedder.model)
    photo = exported.path / "images" / "021_0.jpg"
    status, content = search(served, photo=encoded(photo), filters=["color!=red"])
    expected = index.nearest(
        embedder.file(photo),
        server.COUNT,
        [Filter.parse(text, index.schema) for text in ["color!=red"]],
    )
    assert status == 200
    assert [each["photo"] for each in content["hits"]] == [each.photo for each in expected]
    status, content = search(served, product="p020")
    assert status == 200 and content["hits"]
    assert "p020" not in {each["product_id"] for each in content["hits"]}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "either a photo or a product id"),
        ({"photo": "????"}, 400, "invalid request body"),
        ({"photo": "aGVsbG8="}, 404, "the photo cannot be read: not an image"),
        ({"product": "\ud800"}, 400, "not a JSON body"),
        ({"product": "nobody"}, 400, "the index has no product 'nobody'"),
        ({"product": "p020", "filters": ["colour=red"]}, 400, "did you mean 'color'?"),
        ({"product": "p020", "path": "/etc/passwd"}, 400, "path: Extra inputs"),
        ({"product": 3}, 400, "product: Input should be a valid string"),
    ],
)
def test_an_invalid_search_is_refused_with_the_reason(served, body, status, words):
    got, content = search(served, **body)
    assert got == status and words in content["error"]


def test_only_photos_of_the_index_are_served_to_this_machine(served, exported):
    status, _, headers = ask(served.address)
    policy = headers["Content-Security-Policy"]
    assert status == 200 and "default-src 'none'" in policy and "img-src 'self'" in policy
    status, body, headers = ask(f"{served.address}photo/3")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(body)).format == "JPEG"
    for path in ("photo/99999", "photo/-1", "photo/..%2fcatalogue.csv", "catalogue.csv"):
        assert ask(f"{served.address}{path}")[0] == 404
    assert ask(served.address, headers={"Host": "evil.example"})[0] == 403
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert ask(f"{served.address}api/search", b"no gzip", packed)[0] == 415
    form = {"Content-Type": "text/plain"}
    body = json.dumps({"product": "p020"}).encode()
    assert ask(f"{served.address}api/search", body, form)[0] == 415
    other = {"Content-Type": "application/json", "Origin": "http://evil.example"}
    assert ask(f"{served.address}api/search", body, other)[0] == 403


def test_a_too_large_photo_is_refused(served, monkeypatch):
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    assert search(served, photo=base64.b64encode(b"x" * 1001).decode())[0] == 413


def test_a_photo_outside_the_image_root_is_not_served(exported, indexed, tmp_path):
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    outside = tmp_path / "outside.jpg"
    shutil.copy(exported.path / "images" / "000_0.jpg", outside)
    (root / "images" / "000_0.jpg").symlink_to(outside)
    options = server.SearchOptions(indexed, exported.model, root, port=0)
    with running(lambda: server.Server(options)) as started:
        status, body, _ = ask(f"{started.address}photo/0")
    assert status == 404 and b"leaves the image root" in body


def test_a_used_port_is_reported_in_one_line(served, exported, indexed):
    flags = [f"--index={indexed}", f"--model={exported.model}", f"--port={served.port}"]
    require_bad_input(run_tool("search", *flags), "cannot listen on 127.0.0.1")


@pytest.fixture(scope="module")
def page():
    with chromium() as opened:
        yield opened


def test_a_photo_filters_and_a_product_in_a_browser(page, served, exported):
    page.driver.get(served.address)
    page.wait_for("Choose a photo")
    page.find("#photo").send_keys(str(exported.path / "images" / "020_0.jpg"))
    page.wait_for("products, the nearest first")
    assert page.text("#hits li b") == "p020" and "similarity 1.000" in page.text("#hits li")
    assert page.find("#of-photo").is_displayed()
    page.wait(lambda: page.script("return document.querySelector('#hits img').naturalWidth > 0"))
    page.click("#filters summary")
    page.click("#attributes select[name=color] option[value='=green']")
    page.wait(lambda: page.text("#hits li b") != "p020", "another first product")
    assert all("green" in item.text for item in page.all("#hits li"))
    assert page.text("#filtered").strip() == "(1)"
    first = page.text("#hits li b")
    page.click("#hits li button")
    page.wait(lambda: page.text("#hits li b") != first, "nearest of that product")
    assert page.find("#product").get_attribute("value") == first
    page.wait(lambda: page.find("#of-product").is_displayed(), "the product's photo")
    assert first not in [name.text for name in page.all("#hits li b")]
    assert page.errors() == []


def test_the_page_fits_a_phone(page, served):
    page.phone()
    page.driver.get(served.address)
    page.wait_for("Choose a photo")
    page.find("#product").send_keys("p020", "\ue007")
    page.wait_for("products, the nearest first")
    assert page.script("return document.documentElement.scrollWidth") <= 390
    assert page.errors() == []
