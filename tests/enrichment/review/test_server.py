"""Claims about the page's server over HTTP: who is let in, what is served, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import urllib.parse

import pytest
from PIL import Image

from attr_extractor import storage
from attr_extractor.catalogue import boxes
from attr_extractor.enrichment.review import decisions_file, page
from attr_extractor.enrichment.review.server import Server
from attr_extractor.errors import InputError
from attr_extractor.web import access
from tests.conftest import draw_photo
from tests.enrichment.by_hand import cell, color
from tests.enrichment.review.by_hand import ask, options, running, step

TOKEN = "päss word;=?&/"
QUOTED = urllib.parse.quote(TOKEN, safe="")


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """A page about photos of many kinds, good and bad."""
    folder = tmp_path_factory.mktemp("review")
    root = folder / "root"
    (root / "images").mkdir(parents=True)
    draw_photo(root / "images" / "good.jpg", "shirt", ["red"], "v-neck")
    with Image.open(root / "images" / "good.jpg") as photo:
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
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


def test_photos_are_sent_upright_reduced_and_without_what_came_with_them(server):
    status, body, headers = ask(f"{server.address}photo/2/0")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    photo = Image.open(io.BytesIO(body))
    assert (photo.format, photo.size) == ("JPEG", (720, 1440))  # of 2000 x 1000, turned
    assert not photo.getexif() and b"taken at home" not in body
    status, body, _ = ask(f"{server.address}photo/2/1")
    assert status == 200 and Image.open(io.BytesIO(body)).format == "JPEG"
    assert ask(f"{server.address}photo/9/0")[0] == 200  # a detour within the root


def test_a_product_with_a_box_is_shown_cut_out(shop, tmp_path):
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


def test_photos_may_lie_in_a_bucket(shop, tmp_path):
    root = f"ram://{tmp_path.name}/photos"
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
        ("heat/1/0?value=v-neck", "no heat maps: the page was started without --run_dir"),
    ],
)
def test_nothing_else_than_an_items_photo_is_served(server, path, why):
    status, body, headers = ask(server.address + path)
    assert status == 404
    assert json.loads(body)["error"].startswith(why)
    assert b"secret" not in body.replace(path.encode(), b"")
    assert headers["Content-Type"].startswith("application/json")


def test_every_answer_forbids_other_sources_and_sniffing(server):
    for path in ("", "review.css", "review.js", "api/facts", "photo/1/0", "photo/4/0", "nothing"):
        headers = ask(server.address + path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_names_nothing_elsewhere_and_runs_nothing_inline():
    html = page.html()
    assert re.findall(r"(?:src|href)=['\"]?([^ >'\"]+)", html) == ["/review.css", "/review.js"]
    assert not re.search(r"\bon\w+=|style=|<style|javascript:", html)
    assert not re.search(r"https?://|innerHTML|insertAdjacent|document\.write|eval\(", page.SCRIPT)
    assert "url(" not in page.STYLE and "@import" not in page.STYLE


def test_an_item_says_what_the_page_needs_and_not_where_photos_are(server):
    status, content = step(server, "next")
    assert status == 200
    item = content["item"]
    assert item["proposed"] == [["round neck", 0.9], ["no neck", 0.2], ["v-neck", 0.1]]
    assert (item["id"], item["photos"], item["not_allowed"]) == (1, 1, [])
    assert "image" not in item and "good.jpg" not in json.dumps(content)
    assert content["progress"] == {"done": 0, "left": 9, "mine": 0, "with_others": 0}


def test_values_that_the_category_rules_out_are_marked(shop, tmp_path):
    closure = {"given": "zip", "proposed": ["button", "zip"], "proposed_scores": [0.9, 0.1]}
    rows = [
        cell(1, "closure", category=category, answer="button", **closure)
        for category in ("jeans", "shirt", "")
    ]
    with running(options(shop, tmp_path, rows)) as served:
        found = {}
        for _ in rows:
            item = step(served, "next")[1]["item"]
            found[item["category"]] = item["not_allowed"]
            step(served, "skip", item=item["id"])
    assert found == {"jeans": ["drawstring"], "shirt": [], "": []}


BODY = {"reviewer": "Ada", "holder": "0" * 32}


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("next", b"{", "not a JSON body"),
        ("next", b"\xff", "not a JSON body"),
        ("next", b"[" * 5000, "not a JSON body"),
        ("next", [], "the body"),
        ("next", {**BODY, "reviewer": " \t "}, "reviewer"),
        ("next", {**BODY, "reviewer": "A\u202eda"}, "reviewer"),
        ("next", {**BODY, "reviewer": "A" * 61}, "reviewer"),
        ("next", {**BODY, "holder": "x"}, "holder"),
        ("next", {**BODY, "which": {"attribute": 1}}, "which.attribute"),
        ("next", {**BODY, "which": {"1; DROP TABLE items": "x"}}, "which.1; DROP"),
        ("decide", {**BODY, "item": 1}, "kind"),
        ("decide", {**BODY, "item": "1", "kind": "none"}, "item"),
        ("decide", {**BODY, "item": 1, "kind": "all"}, "kind"),
        ("decide", {**BODY, "item": 1, "kind": "values", "values": [1]}, "values.0"),
        ("decide", {**BODY, "item": 1, "kind": "values", "values": ["red"]}, "no value 'red'"),
        ("skip", BODY, "item"),
    ],
)
def test_a_body_that_the_page_would_not_send_is_refused(server, name, body, words):
    body = {"queue": server.queue_id, **body} if isinstance(body, dict) else body
    status, answer, _ = ask(f"{server.address}api/{name}", body)
    assert status == 400 and words in json.loads(answer)["error"]
    assert step(server, "next")[1]["progress"]["done"] == 0


def test_a_huge_body_and_a_huge_number_are_refused(server):
    assert ask(f"{server.address}api/next", b" " * 70_000)[0] == 413
    assert step(server, "skip", item=10**30)[0] in (400, 404)
    assert ask(f"{server.address}photo/{10**30}/0")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example:8600"}, 403),  # a name of somebody else's for this machine
        ({}, 200),
    ],
)
def test_another_site_cannot_take_a_step(server, headers, status):
    body = json.dumps({**BODY, "queue": server.queue_id}).encode()
    found, answer, _ = ask(f"{server.address}api/next", body, headers)
    assert found == status, answer


def test_the_pages_own_origin_may_take_a_step(server):
    own = {"Origin": server.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    body = {**BODY, "queue": server.queue_id}
    assert ask(f"{server.address}api/next", body, own)[0] == 200
    assert ask(f"{server.address}api/next")[0] == 405  # nothing changes by a GET


def test_the_token_lets_in_and_becomes_a_cookie(shop, tmp_path):
    with running(options(shop, tmp_path, [cell()], token=TOKEN, host="127.0.0.1")) as served:
        for path in ("", "review.js", "api/facts", "photo/1/0", "?token=", "?token=wrong"):
            status, body, headers = ask(served.address + path)
            assert status == 401 and "Set-Cookie" not in headers
            assert b"token" in body and TOKEN.encode() not in body
        assert ask(f"{served.address}api/next", BODY)[0] == 401
        status, _, headers = ask(f"{served.address}?token={QUOTED}")
        assert status == 200
        cookie, *rest = headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rest)
        assert QUOTED not in cookie and TOKEN not in cookie
        for path in ("", "review.js", "api/facts", "photo/1/0"):
            assert ask(served.address + path, headers={"Cookie": cookie})[0] == 200
        body = {**BODY, "queue": served.queue_id}
        assert ask(f"{served.address}api/next", body, {"Cookie": cookie})[0] == 200
        for wrong in ("review=", "review=x", f"review={QUOTED}", cookie[:-1], cookie + "é"):
            assert ask(served.address, headers={"Cookie": wrong})[0] == 401


def test_a_cookie_is_of_one_start_and_holds_nothing_to_guess_the_token_by(shop, tmp_path):
    cookies = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with running(options(shop, tmp_path / name, [cell()], token=TOKEN)) as served:
            cookies.append(ask(f"{served.address}?token={QUOTED}")[2]["Set-Cookie"].split("; ")[0])
            assert hashlib.sha256(TOKEN.encode()).hexdigest() not in cookies[-1]
            assert ask(served.address, headers={"Cookie": cookies[-1]})[0] == 200
            assert ask(served.address, headers={"Cookie": cookies[0]})[0] == (
                200 if name == "a" else 401
            )


def test_tokens_cannot_be_tried_without_end(shop, tmp_path, monkeypatch):
    with running(options(shop, tmp_path, [cell()], token=TOKEN)) as served:
        cookie = ask(f"{served.address}?token={QUOTED}")[2]["Set-Cookie"].split("; ")[0]
        found = [ask(f"{served.address}?token={i}")[0] for i in range(20)]
        assert found == [401] * 10 + [429] * 10
        assert ask(f"{served.address}?token={QUOTED}")[0] == 429  # nobody looks at it any more
        assert ask(served.address, headers={"Cookie": cookie})[0] == 200
        monkeypatch.setattr(access, "_PERIOD", 0.0)
        assert ask(f"{served.address}?token={QUOTED}")[0] == 200


def test_a_token_is_read_of_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("a secret\n")
    assert access.read_token(file) == "a secret"
    for content, why in ((b"", "is empty"), (b"\n", "is empty"), (b"\xff", "cannot be read")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"the token file {why}"):
            access.read_token(file)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"\x1f\x8bno gzip at all", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (gzip.compress(b"{}", mtime=0), {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({**BODY, "which": {"seller": "\ud800"}}, {}, 400, "not a JSON body"),
        (b"[" * 60_000, {}, 400, "recursion"),
        (b" " * 70_000, {}, 413, "more than 65,536 bytes"),
    ],
)
def test_a_body_that_no_page_sends_is_refused_with_a_reason(server, body, headers, status, words):
    found, answer, _ = ask(f"{server.address}api/next", body, headers)
    assert (found, words in json.loads(answer)["error"]) == (status, True), answer


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example", ""])
def test_other_machines_are_let_in_with_a_token_only(shop, tmp_path, host):
    of = options(shop, tmp_path, [cell()], host=host)
    with pytest.raises(InputError, match=f"--host={host} is open to other machines: pass --token"):
        Server(of)
    assert not (tmp_path / "decisions.sqlite").exists()


def test_a_taken_port_is_told_and_the_file_closed(shop, tmp_path, server):
    of = options(shop, tmp_path, [cell()], port=server.port)
    with pytest.raises(InputError, match="cannot listen on 127.0.0.1"), running(of):
        raise AssertionError("it listens")
    with running(dataclasses.replace(of, port=0)) as again:
        assert step(again, "next")[0] == 200


def test_a_late_decision_gets_409_and_the_first_one(shop, tmp_path):
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


def test_a_page_of_another_queue_is_refused(shop, tmp_path):
    """Its items have the same numbers and mean others."""
    with running(options(shop, tmp_path, [cell(), color(2)])) as served:
        for name in ("next", "undo", "skip", "decide"):
            steps = {"item": 1} if name in ("skip", "decide") else {}
            steps.update({"kind": "none"} if name == "decide" else {})
            status, content = step(served, name, queue="0" * 32, **steps)
            assert status == 409 and "reload the page" in content["error"]
        assert ask(f"{served.address}photo/1/0")[2]["Cache-Control"] == "no-store"
        assert step(served, "next")[1]["progress"]["done"] == 0


def test_a_photo_that_vanished_costs_nobody_the_decision(shop, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shop.path / "images", root / "images")
    with running(options(shop, tmp_path, [cell()], image_root=root)) as served:
        item = step(served, "next")[1]["item"]
        (root / "images" / "000_0.jpg").unlink()
        status, body, _ = ask(f"{served.address}photo/{item['id']}/0")
        assert (status, json.loads(body)["error"]) == (404, "image not found")
        assert step(served, "decide", item=1, kind="seller")[0] == 200


def test_a_locked_file_is_503_and_the_step_can_be_tried_again(shop, tmp_path, monkeypatch):
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


def test_schema_or_model_is_needed_and_not_both(shop, tmp_path):
    of = options(shop, tmp_path, [cell()])
    for changes in ({"schema": None}, {"model": "model"}):
        with pytest.raises(InputError, match="pass either --schema or --model"):
            Server(dataclasses.replace(of, **changes))
    with pytest.raises(InputError, match="the image root is not a folder"):
        Server(dataclasses.replace(of, image_root=tmp_path / "nowhere"))
