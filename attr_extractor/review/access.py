"""Who may ask the review page what: a token, the same origin, and what the page itself may load.

Without a token the page listens on this machine only, and a request must name this machine as its
host: a web page elsewhere cannot borrow a name for it. With one, whoever opens the address with
`?token=` once gets a cookie that no script reads, no other site sends, and no other start of the
server takes; wrong tokens are limited. What changes something must come as JSON from the page's own
origin.
"""

from __future__ import annotations

import hmac
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from attr_extractor.errors import InputError, require_file
from attr_extractor.serving.hosts import asked_by_loopback_name, is_loopback
from attr_extractor.serving.http_server import Handler

COOKIE = "review"
# the page loads its own script, style and photos, and nothing from anywhere else
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # an address may hold the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_NO_TOKEN = "open the page with the address that ends in ?token=, as you were given it"
_WRONG = 10  # tokens of one address in a period
_ALL_WRONG = 100  # of all addresses
_PERIOD = 60.0  # seconds


def require_safe(host: str, token: str) -> None:
    """Raises InputError where other machines would be let in and nobody asked for a token."""
    if not token and not is_loopback(host):
        raise InputError(
            f"--host={host} lets other machines in: give a --token_file, "
            "or leave the page to this machine with --host=127.0.0.1"
        )


def read_token(path: str | Path) -> str:
    """The token in a file, its first line; raises InputError where there is none."""
    try:
        lines = require_file(path, "the token's file").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the token's file cannot be read: {error}") from error
    if not lines or not lines[0].strip():
        raise InputError(f"{path}: the token's file is empty")
    return lines[0].strip()


class Access:
    """The rules as a middleware of aiohttp; refusals are raised as HTTP errors."""

    def __init__(self, token: str):
        self._key = secrets.token_bytes(32)
        self._cookie = self._signed(token) if token else ""
        self._wrong = _WrongTokens()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets a request through, or raises why not; sets the cookie where the token came."""
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
            raise web.HTTPForbidden(reason="ask for this page by the name localhost or 127.0.0.1")
        if request.method not in ("GET", "HEAD"):
            _require_same_origin(request)
        response = await handler(request)
        if token is not None:
            response.set_cookie(
                COOKIE, self._cookie, httponly=True, samesite="Strict", path="/", max_age=None
            )
        return response

    def _signed(self, token: str) -> str:
        """What the cookie holds: safe in a header, and nothing to guess the token by."""
        return hmac.new(self._key, _bytes(token), "sha256").hexdigest()

    def _is_right(self, cookie: str) -> bool:
        return hmac.compare_digest(_bytes(cookie), _bytes(self._cookie))


class _WrongTokens:
    """Counts them, by address and all together."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._counts: dict[str, int] = {}

    def count(self, address: str) -> None:
        self._counts[address] = self._counts.get(address, 0) + 1

    def require_few(self, address: str) -> None:
        """Raises HTTPTooManyRequests where a token is not even looked at any more."""
        if time.monotonic() - self._since > _PERIOD:
            self._since, self._counts = time.monotonic(), {}
        if self._counts.get(address, 0) >= _WRONG or sum(self._counts.values()) >= _ALL_WRONG:
            raise web.HTTPTooManyRequests(reason="too many wrong tokens: wait a minute")


def _require_same_origin(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="a body of type application/json is needed")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
        raise web.HTTPForbidden(reason="asked for from another origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden(reason="asked for from another site")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a header may hold any byte
