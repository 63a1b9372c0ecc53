"""Who may ask the review page what: a token, the same origin, and what the page itself may load.

Without a token the page listens on this machine only, and a request must name this machine as its
host: a web page elsewhere cannot borrow a name for it. With one, whoever opens the address with
`?token=` once gets a cookie that no script reads and no other site sends. What changes something
must come as JSON from the page's own origin.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from attr_extractor.errors import InputError

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
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def require_safe(host: str, token: str) -> None:
    """Raises InputError where other machines would be let in and nobody asked for a token."""
    if not token and not is_loopback(host):
        raise InputError(
            f"--host={host} lets other machines in: give a --token, "
            "or leave the page to this machine with --host=127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine for itself only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """The rules as a middleware of aiohttp; refusals are raised as HTTP errors."""

    def __init__(self, token: str):
        self._digest = _digest(token) if token else ""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets a request through, or raises why not; sets the cookie where the token came."""
        if self._digest:
            given = request.query.get("token")
            cookie = request.cookies.get(COOKIE, "")
            digest = cookie if given is None else _digest(given)
            if not hmac.compare_digest(_bytes(digest), _bytes(self._digest)):
                raise web.HTTPUnauthorized(reason=_NO_TOKEN)
        elif not is_loopback(_host_of(f"//{request.host}")):
            raise web.HTTPForbidden(reason="ask for this page by the name localhost or 127.0.0.1")
        if request.method not in ("GET", "HEAD"):
            _require_same_origin(request)
        response = await handler(request)
        if self._digest and "token" in request.query:
            response.set_cookie(
                COOKIE, self._digest, httponly=True, samesite="Strict", path="/", max_age=None
            )
        return response


def _require_same_origin(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="a body of type application/json is needed")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
        raise web.HTTPForbidden(reason="asked for from another origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden(reason="asked for from another site")


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # a bracket without its other half
        return ""


def _digest(token: str) -> str:
    """What the cookie holds: safe in a header whatever the token is made of."""
    return hashlib.sha256(_bytes(token)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a header may hold any byte
