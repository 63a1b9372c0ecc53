"""Access control of web pages: loopback hosts, tokens and same-origin checks.

Without a token the page listens on this machine only, and the Host header must name this machine,
which prevents DNS rebinding: a web page from elsewhere could point a name that it owns at this
machine. With a token, a client that opens `?token=` once gets a cookie. The cookie is HttpOnly and
SameSite=Strict, and it is valid until the server restarts. The number of wrong tokens is limited.
Requests that change data must be JSON from the page's own origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from attr_extractor.errors import InputError, require_file
from attr_extractor.web.http_server import Handler

COOKIE = "review"
_NO_TOKEN = "open the page with the address that ends in ?token="
_WRONG = 10  # wrong tokens per address and period
_ALL_WRONG = 100  # wrong tokens of all addresses per period
_PERIOD = 60.0  # seconds


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is a loopback one."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def asked_by_loopback_name(host_field: str) -> bool:
    """Return whether a request's Host is a loopback name, which nobody else can own."""
    try:
        return is_loopback(urlsplit(f"//{host_field}").hostname or "")
    except ValueError:  # an unclosed bracket
        return False


def require_safe(host: str, token: str) -> None:
    """Raise InputError if other machines can reach `host` and there is no token."""
    if not token and not is_loopback(host):
        raise InputError(
            f"--host={host} is open to other machines: pass --token_file, "
            "or use --host=127.0.0.1"
        )


def read_token(path: str | Path) -> str:
    """Return the token, the first line of a file; raise InputError if there is none."""
    try:
        lines = require_file(path, "the token file").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the token file cannot be read: {error}") from error
    if not lines or not lines[0].strip():
        raise InputError(f"{path}: the token file is empty")
    return lines[0].strip()


class Access:
    """The access rules as aiohttp middleware; a rejected request raises an HTTP error."""

    def __init__(self, token: str):
        self._key = secrets.token_bytes(32)
        self._cookie = self._signed(token) if token else ""
        self._wrong = _WrongTokens()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a permitted request or raise an HTTP error; set the cookie after a token."""
        token = request.query.get("token") if self._cookie else None
        if token is not None:
            self._wrong.require_few(request.remote or "")
            if not self._is_right(self._signed(token)):
                self._wrong.count(request.remote or "")
                raise web.HTTPUnauthorized(reason=_NO_TOKEN)
        elif self._cookie:
            if not self._is_right(request.cookies.get(COOKIE, "")):
                raise web.HTTPUnauthorized(reason=_NO_TOKEN)
        elif not asked_by_loopback_name(request.host):
            raise web.HTTPForbidden(reason="open this page as localhost or 127.0.0.1")
        if request.method not in ("GET", "HEAD"):
            _require_same_origin(request)
        response = await handler(request)
        if token is not None:
            response.set_cookie(
                COOKIE, self._cookie, httponly=True, samesite="Strict", path="/", max_age=None
            )
        return response

    def _signed(self, token: str) -> str:
        """Return the cookie's value: safe in a header, and does not reveal the token."""
        return hmac.new(self._key, _bytes(token), "sha256").hexdigest()

    def _is_right(self, cookie: str) -> bool:
        return hmac.compare_digest(_bytes(cookie), _bytes(self._cookie))


class _WrongTokens:
    """Counts of wrong tokens, per address and in total."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._counts: dict[str, int] = {}

    def count(self, address: str) -> None:
        self._counts[address] = self._counts.get(address, 0) + 1

    def require_few(self, address: str) -> None:
        """Raise HTTPTooManyRequests if the limit of wrong tokens is reached."""
        if time.monotonic() - self._since > _PERIOD:
            self._since, self._counts = time.monotonic(), {}
        if self._counts.get(address, 0) >= _WRONG or sum(self._counts.values()) >= _ALL_WRONG:
            raise web.HTTPTooManyRequests(reason="too many wrong tokens: wait a minute")


def _require_same_origin(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="the body must be of type application/json")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
        raise web.HTTPForbidden(reason="request from another origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden(reason="request from another site")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a header may contain any byte
