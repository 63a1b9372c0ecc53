"""Tests of `review/server.py` over HTTP: which photos it serves, and which requests it refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from attr_extractor import storage
from attr_extractor.catalogue import boxes
from attr_extractor.enrichment.review import decisions_file
from attr_extractor.enrichment.review.server import Server
from attr_extractor.errors import InputError
from tests.conftest import draw_photo
from tests.enrichment.by_hand import cell, color, write_cells
from tests.enrichment.review.by_hand import options, running, step
from tests.web.running import ask


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """A server whose items list valid and invalid photos."""
    folder = tmp_path_factory.mktemp("review")
    root = folder / "root"
    (root / "images").mkdir(parents=True)
    draw_photo(root / "images" / "good.jpg", "shirt", ["red"], "v-neck")
    with Image.open(root / "images" / "good.jpg") as photo:
        exif = Image.Exif()
        exif[0x0112] = 6  # rotated by 90 degrees
        exif[0x010E] = "taken at home"
        photo.resize([2000, 1000]).save(root / "images" / "turned.jpg", exif=exif)
        photo.save(root / "images" / "name with ä #%?.png")
    (root / "secret.txt").write_text("secret")
    (folder / "outside.jpg").write_bytes((root / "images" / "good.jpg").read_bytes())
    os.symlink(folder / "outside.jpg", root / "images" / "link.jpg")
    images = [
        *("images/good.jpg", "images/turned.jpg|images/name with ä #%?.png", "secret.txt"),
        *("../outside.jpg", str(folder / "outside.jpg"), "images/link.jpg"),
        *("http://example.com/a.jpg", "", "images/../images/good.jpg"),
    ]
    rows = [
        cell(1 + i, image=image, proposed_scores=[0.9 - i / 1000, 0.2, 0.1])
        for i, image in enumerate(images)
    ]
    with running(options(shop, folder, rows, image_root=root)) as served:
        yield served


def test_photos_are_served_upright_reduced_and_without_metadata(server):
    status, body, headers = ask(f"{server.address}photo/2/0")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    photo = Image.open(io.BytesIO(body))
    assert (photo.format, photo.size) == ("JPEG", (720, 1440))  # of 2000 x 1000, rotated
    assert not photo.getexif() and b"taken at home" not in body
    status, body, _ = ask(f"{server.address}photo/2/1")
    assert status == 200 and Image.open(io.BytesIO(body)).format == "JPEG"
    assert ask(f"{server.address}photo/9/0")[0] == 200  # `..` within the root


def test_a_photo_is_cropped_to_the_product_box(shop, tmp_path):
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste("red", (200, 0, 300, 100))
    wide.save(tmp_path / "wide.png")
    two = [cell(1, image="wide.png|wide.png"), cell(2, image="wide.png")]
    texts = (["200|0", "0|0", "300|100", "100|50"], ["20", "0", "ten", "10"])
    rows = [{**row, "box": boxes.join(text)} for row, text in zip(two, texts)]
    with running(options(shop, tmp_path, rows, image_root=tmp_path)) as served:
        for index, size, color in ((0, (100, 100), (254, 0, 0)), (1, (100, 50), (0, 0, 254))):
            photo = Image.open(io.BytesIO(ask(f"{served.address}photo/1/{index}")[1]))
            assert photo.size == size
            assert photo.resize((1, 1)).getpixel((0, 0)) == pytest.approx(color, abs=3)
        status, body, _ = ask(f"{served.address}photo/2/0")
        assert status == 404 and "product box is not four numbers" in json.loads(body)["error"]


def test_photos_can_be_in_a_bucket(shop, tmp_path):
    root = f"memory://{tmp_path.name}/photos"
    storage.write(f"{root}/images/a.jpg", (shop.path / "images" / "000_0.jpg").read_bytes())
    rows = [cell(1, image="images/a.jpg"), cell(2, image="gone.jpg"), cell(3, image="../a.jpg")]
    with running(options(shop, tmp_path, rows, image_root=root)) as served:
        assert ask(f"{served.address}photo/1/0")[0] == 200
        for item, why in ((2, "image not found"), (3, "image path leaves the image root")):
            status, body, _ = ask(f"{served.address}photo/{item}/0")
            assert status == 404 and json.loads(body)["error"].startswith(why)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("photo/3/0", "not an image"),
        ("photo/4/0", "image path leaves the image root"),
        ("photo/5/0", "image path leaves the image root"),
        ("photo/6/0", "image path leaves the image root"),
        ("photo/7/0", "image is a web address"),
        ("photo/8/0", "image not found"),
        ("photo/1/1", "image not found"),
        ("photo/10/0", "the queue has no item 10"),
        ("photo/1/..%2f..%2fsecret.txt", "Not Found"),
        ("photo/../secret.txt", "Not Found"),
        ("secret.txt", "Not Found"),
        (f"photo/{10**30}/0", "Not Found"),
        ("heat/1/0?value=v-neck", "no heat maps: the page was started without --run_dir"),
    ],
)
def test_only_photos_of_items_are_served(server, path, why):
    status, body, headers = ask(server.address + path)
    assert status == 404
    assert json.loads(body)["error"].startswith(why)
    assert b"secret" not in body.replace(path.encode(), b"")
    assert headers["Content-Type"].startswith("application/json")


def test_an_item_contains_no_path(server):
    status, content = step(server, "next")
    assert status == 200
    item = content["item"]
    assert item["proposed"] == [["round neck", 0.9], ["no neck", 0.2], ["v-neck", 0.1]]
    assert (item["id"], item["photos"], item["not_allowed"]) == (1, 1, [])
    assert "image" not in item and "good.jpg" not in json.dumps(content)
    assert content["progress"] == {"done": 0, "left": 9, "mine": 0, "with_others": 0}


def test_values_that_the_category_does_not_allow_are_marked(shop, tmp_path):
    closure = {"given": "zip", "proposed": ["button", "zip"], "proposed_scores": [0.9, 0.1]}
    rows = [
        cell(1, "closure", category=category, answer="button", **closure)
        for category in ("jeans", "shirt", "")
    ]
    with running(options(shop, tmp_path, rows)) as served:
        not_allowed = {}
        for _ in rows:
            item = step(served, "next")[1]["item"]
            not_allowed[item["category"]] = item["not_allowed"]
            step(served, "skip", item=item["id"])
    assert not_allowed == {"jeans": ["drawstring"], "shirt": [], "": []}


BODY = {"reviewer": "Ada", "holder": "0" * 32}


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("next", b"{", "not a JSON body"),
        ("next", {**BODY, "reviewer": " \t "}, "reviewer"),
        ("next", {**BODY, "reviewer": "A\u202eda"}, "reviewer"),
        ("next", {**BODY, "reviewer": "A" * 61}, "reviewer"),
        ("next", {**BODY, "holder": "x"}, "holder"),
        ("next", {**BODY, "filter": {"attribute": 1}}, "filter.attribute"),
        ("next", {**BODY, "filter": {"1; DROP TABLE items": "x"}}, "filter.1; DROP"),
        ("decide", {**BODY, "item": 1}, "kind"),
        ("decide", {**BODY, "item": "1", "kind": "none"}, "item"),
        ("decide", {**BODY, "item": 1, "kind": "all"}, "kind"),
        ("decide", {**BODY, "item": 1, "kind": "values", "values": [1]}, "values.0"),
        ("decide", {**BODY, "item": 1, "kind": "values", "values": ["red"]}, "no value 'red'"),
        ("skip", BODY, "item"),
        ("skip", {**BODY, "item": 10**30}, "item"),
    ],
)
def test_an_invalid_body_is_refused(server, name, body, words):
    body = {"queue": server.queue_id, **body} if isinstance(body, dict) else body
    status, content, _ = ask(f"{server.address}api/{name}", body)
    assert status == 400 and words in json.loads(content)["error"]
    assert step(server, "next")[1]["progress"]["done"] == 0


def test_other_machines_have_access_only_with_a_token(shop, tmp_path):
    open_to_all = options(shop, tmp_path, [cell()], host="0.0.0.0")
    with pytest.raises(InputError, match="--host=0.0.0.0 is open to other machines: pass --token"):
        Server(open_to_all)
    assert not (tmp_path / "decisions.sqlite").exists()
    with running(options(shop, tmp_path, [cell()], token="a secret")) as served:
        for path in ("", "api/page", "photo/1/0"):
            assert ask(served.address + path)[0] == 401
        assert step(served, "next")[0] == 401


def test_after_a_used_port_the_decisions_file_is_closed(shop, tmp_path, server):
    server_options = options(shop, tmp_path, [cell()], port=server.port)
    with pytest.raises(InputError, match="cannot listen on 127.0.0.1"), running(server_options):
        raise AssertionError("it listens")
    with running(dataclasses.replace(server_options, port=0)) as again:
        assert step(again, "next")[0] == 200


def test_a_second_decision_is_refused_with_the_first(shop, tmp_path):
    with running(options(shop, tmp_path, [cell()])) as served:
        assert step(served, "decide", "Ada", item=1, kind="values", values=["no neck"])[0] == 200
        status, content = step(served, "decide", "Ben", item=1, kind="seller")
        assert status == 409
        assert content["error"] == "Ada already decided this item"
        decision = content["decision"]
        assert (decision["kind"], decision["value"]) == ("values", "no neck")
        again = step(served, "next", "Ben")[1]
        assert again == {
            "item": None,
            "progress": {"done": 1, "left": 0, "mine": 0, "with_others": 0},
        }


def test_steps_of_a_page_of_another_queue_are_refused(shop, tmp_path):
    """The numbers of its items stand for other cells."""
    with running(options(shop, tmp_path, [cell(), color(2)])) as served:
        for name in ("next", "undo", "skip", "decide"):
            steps = {"item": 1} if name in ("skip", "decide") else {}
            steps.update({"kind": "none"} if name == "decide" else {})
            status, content = step(served, name, queue="0" * 32, **steps)
            assert status == 409 and "reload the page" in content["error"]
        assert ask(f"{served.address}photo/1/0")[2]["Cache-Control"] == "no-store"
        assert step(served, "next")[1]["progress"]["done"] == 0


def test_an_item_without_its_photo_can_be_decided(shop, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shop.path / "images", root / "images")
    with running(options(shop, tmp_path, [cell()], image_root=root)) as served:
        item = step(served, "next")[1]["item"]
        (root / "images" / "000_0.jpg").unlink()
        status, body, _ = ask(f"{served.address}photo/{item['id']}/0")
        assert (status, json.loads(body)["error"]) == (404, "image not found")
        assert step(served, "decide", item=1, kind="seller")[0] == 200


def test_a_locked_decisions_file_is_503_and_the_step_can_be_repeated(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(decisions_file, "BUSY_SECONDS", 0.05)
    with running(options(shop, tmp_path, [cell(), color(2)])) as served:
        with sqlite3.connect(tmp_path / "decisions.sqlite", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            status, content = step(served, "decide", item=1, kind="none")
            assert status == 503 and "locked by another program" in content["error"]
            other.execute("ROLLBACK")
        other.close()
        assert step(served, "decide", item=1, kind="none")[0] == 200
        assert step(served, "next")[1]["progress"]["done"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": None}, "pass either --schema or --model"),
        ({"model": "model"}, "pass either --schema or --model"),
        ({"model": "nowhere", "schema": None}, "nowhere: not a SavedModel"),
        ({"image_root": "nowhere"}, "nowhere: the image root is not a folder"),
        ({"cells": "nowhere.parquet"}, "nowhere.parquet: the cells file does not exist"),
        ({"run_dir": "nowhere"}, "nowhere"),
        ({"decisions": "nowhere/d.sqlite"}, "the folder of --decisions does not exist"),
    ],
)
def test_invalid_options_are_refused(shop, tmp_path, changes, words):
    valid = options(shop, tmp_path, [cell()])
    with pytest.raises(InputError, match=words):
        Server(dataclasses.replace(valid, **changes))


def test_invalid_files_are_refused(shop, tmp_path):
    valid = options(shop, tmp_path, [cell()])
    Path(valid.decisions).write_bytes(b"not SQLite" * 100)
    with pytest.raises(InputError, match="file is not a database"):
        Server(valid)
    Path(valid.decisions).unlink()
    write_cells(Path(valid.cells), [cell(given="turtle")])
    with pytest.raises(InputError, match="written with another schema"):
        Server(valid)
    Path(valid.cells).write_bytes(b"not Parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        Server(valid)
