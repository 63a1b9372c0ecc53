"""Tests of `web/page_server.py` and `web/access.py`: access, and requests that are refused.

A page with an API that returns the body of a POST stands for the pages of the package.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
import time
import urllib.parse
from typing import Any

import pydantic
import pytest
from aiohttp import web

from attr_extractor.errors import InputError
from attr_extractor.web import access, pages
from attr_extractor.web.page_server import PageServer, RequestError
from tests.web.running import ask, running

TOKEN = "päss word;=?&/"
QUOTED = urllib.parse.quote(TOKEN, safe="")
BODY = {"text": "a"}
PAGES = {"review": ("review_view.js",), "search": ()}  # with their additional files


class Echo(pydantic.BaseModel):
    text: str


class EchoServer(PageServer):
    """The review page, with an API that returns the body of a POST."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, token: str = ""):
        super().__init__("review", host, port, token, PAGES["review"])

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/echo", self._echo), web.get("/api/{error}", self._fail)]

    def request_error(self, error: Exception) -> RequestError | None:
        if isinstance(error, InputError):
            return RequestError(418, str(error), decision="no")
        return None

    async def _echo(self, request: web.Request) -> web.Response:
        body = await self.body(request, Echo, 65_536)
        return web.json_response(body.model_dump())

    async def _fail(self, request: web.Request) -> web.Response:
        raise {"input": InputError, "bug": ValueError}[request.match_info["error"]]("why")


@pytest.fixture(scope="module")
def server():
    with running(EchoServer) as started:
        yield started


def post(server: PageServer, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    status, content, _ = ask(f"{server.address}api/echo", body, headers)
    return status, json.loads(content)


def test_a_valid_body_reaches_the_handler(server):
    assert post(server, BODY) == (200, BODY)


def test_an_error_is_returned_as_json_and_a_bug_without_its_message(server):
    status, content, headers = ask(f"{server.address}api/input")
    assert (status, json.loads(content)) == (418, {"error": "why", "decision": "no"})
    assert headers["Content-Type"].startswith("application/json")
    status, content, _ = ask(f"{server.address}nothing")
    assert (status, json.loads(content)) == (404, {"error": "Not Found"})
    status, content, _ = ask(f"{server.address}api/bug")
    assert status == 500 and b"why" not in content


def test_every_response_forbids_other_sources_and_sniffing(server):
    for path in ("", "static/review.css", "static/app.js", "api/input", "nothing", "favicon.ico"):
        headers = ask(server.address + path)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_links_only_its_own_files_and_has_no_inline_code(name):
    html = pages.render(f"{name}.html", page=name)
    linked = re.findall(r"(?:src|href)=['\"]?([^ >'\"]+)", html)
    styles = [f"/static/{style}.css" for style in ("report", "app", name)]
    assert linked == [*styles, f"/static/{name}.js"]
    assert not re.search(r"\bon\w+=|style=|<style|javascript:", html)
    scripts = [f"{name}.js", "app.js", *PAGES[name]]
    for script in scripts:
        text = pages.static(script)
        assert not re.search(r"https?://|innerHTML|insertAdjacent|document\.write|eval\(", text)
        imported = re.findall(r"from '(.*?)'", text)
        assert {file.removeprefix("./") for file in imported} <= set(scripts)
    for style in ("app.css", f"{name}.css"):
        assert "url(" not in pages.static(style) and "@import" not in pages.static(style)


def test_the_page_and_its_files_are_served(server):
    for path, kind in (
        ("", "text/html"),
        ("static/report.css", "text/css"),
        ("static/app.js", "text/javascript"),
        ("static/review_view.js", "text/javascript"),
    ):
        status, content, headers = ask(server.address + path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        if path:
            assert content.decode() == pages.static(path.removeprefix("static/"))
    assert ask(f"{server.address}static/report.js")[0] == 404
    assert ask(f"{server.address}static/..%2fpages.py")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example:8600"}, 403),  # a name that another owner points at this machine
        ({}, 200),
    ],
)
def test_other_sites_cannot_post(server, headers, status):
    assert post(server, BODY, headers)[0] == status


def test_the_own_origin_can_post(server):
    own = {"Origin": server.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert post(server, BODY, own)[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "not a JSON body"),
        (b"\xff", {}, 400, "not a JSON body"),
        (b"[" * 60_000, {}, 400, "recursion"),
        ({"text": "\ud800"}, {}, 400, "not a JSON body"),
        ([], {}, 400, "the body"),
        ({"text": 1}, {}, 400, "text: Input should be a valid string"),
        (b" " * 70_000, {}, 413, "more than 65,536 bytes"),
        (b"\x1f\x8bno gzip at all", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (gzip.compress(b"{}", mtime=0), {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
    ],
)
def test_an_invalid_body_is_refused_with_the_reason(server, body, headers, status, words):
    got, content = post(server, body, headers)
    assert got == status and words in content["error"]


def test_the_token_grants_access_and_becomes_a_cookie():
    with running(lambda: EchoServer(token=TOKEN)) as server:
        for path in ("", "static/review.js", "api/input", "?token=", "?token=wrong"):
            status, body, headers = ask(server.address + path)
            assert status == 401 and "Set-Cookie" not in headers
            assert b"token" in body and TOKEN.encode() not in body
        assert post(server, BODY)[0] == 401
        status, _, headers = ask(f"{server.address}?token={QUOTED}")
        assert status == 200
        cookie, *attributes = headers["Set-Cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert QUOTED not in cookie and TOKEN not in cookie
        for path in ("", "static/review.js"):
            assert ask(server.address + path, headers={"Cookie": cookie})[0] == 200
        assert post(server, BODY, {"Cookie": cookie})[0] == 200
        for wrong in ("review=", "review=x", f"review={QUOTED}", cookie[:-1], cookie + "é"):
            assert ask(server.address, headers={"Cookie": wrong})[0] == 401


def test_a_cookie_is_valid_until_a_restart_and_does_not_reveal_the_token():
    cookies = []
    for start in range(2):
        with running(lambda: EchoServer(token=TOKEN)) as server:
            response = ask(f"{server.address}?token={QUOTED}")
            cookies.append(response[2]["Set-Cookie"].split("; ")[0])
            assert hashlib.sha256(TOKEN.encode()).hexdigest() not in cookies[-1]
            assert ask(server.address, headers={"Cookie": cookies[-1]})[0] == 200
            expected = 200 if start == 0 else 401
            assert ask(server.address, headers={"Cookie": cookies[0]})[0] == expected


def test_the_number_of_wrong_tokens_is_limited(monkeypatch):
    with running(lambda: EchoServer(token=TOKEN)) as server:
        response = ask(f"{server.address}?token={QUOTED}")
        cookie = response[2]["Set-Cookie"].split("; ")[0]
        statuses = [ask(f"{server.address}?token={i}")[0] for i in range(20)]
        assert statuses == [401] * 10 + [429] * 10
        assert ask(f"{server.address}?token={QUOTED}")[0] == 429  # tokens are no longer compared
        assert ask(server.address, headers={"Cookie": cookie})[0] == 200
        monkeypatch.setattr(access, "_PERIOD", 0.0)
        assert ask(f"{server.address}?token={QUOTED}")[0] == 200


def test_a_token_is_read_from_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("a secret\n")
    assert access.read_token(file) == "a secret"
    for content, reason in ((b"", "is empty"), (b"\n", "is empty"), (b"\xff", "cannot be read")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"the token file {reason}"):
            access.read_token(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example", ""])
def test_other_machines_have_access_only_with_a_token(host):
    with pytest.raises(InputError, match=f"--host={host} is open to other machines: pass --token"):
        EchoServer(host)


def test_a_used_port_is_an_input_error(server):
    used = pytest.raises(InputError, match="cannot listen on 127.0.0.1")
    with used, running(lambda: EchoServer(port=server.port)):
        raise AssertionError("the server listens")


def test_stop_waits_for_the_threads_of_the_server():
    finished = threading.Event()

    def work() -> None:
        time.sleep(0.1)
        finished.set()

    with running(EchoServer) as server:
        server.threads(1).submit(work)
    assert finished.is_set()
