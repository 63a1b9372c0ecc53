"""A server in front of an object store: one request in twenty fails, one in ten is slow.

python tests/fault_proxy.py PORT ADDRESS. Of the failures, every second one breaks the connection.
With further arguments STATUS METHODS, only these methods fail, always and with this status.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence

from aiohttp import ClientSession, web
from yarl import URL

FAILS, SLOW = 20, 10  # one in so many requests
SECONDS = 0.2
_NOT_FORWARDED = {"transfer-encoding", "content-length", "content-encoding", "connection", "date"}


def make(address: str, status: int = 0, methods: Sequence[str] = ()) -> web.Application:
    numbers = itertools.count(1)

    async def forward(request: web.Request) -> web.StreamResponse:
        number, body = next(numbers), await request.read()
        if status:
            if request.method in methods:
                return web.json_response({"error": {"message": "refused"}}, status=status)
        elif not number % FAILS:
            if not number % (2 * FAILS) and request.transport is not None:
                request.transport.abort()
            return web.Response(status=503, text="fails sometimes")
        elif not number % SLOW:
            await asyncio.sleep(SECONDS)
        url = URL(address + request.raw_path, encoded=True)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        send = request.app["session"].request
        async with send(request.method, url, headers=headers, data=body) as answer:
            content = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _NOT_FORWARDED}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, body=content, headers=kept)

    async def session(app: web.Application):
        app["session"] = ClientSession(auto_decompress=False)
        yield
        await app["session"].close()

    app = web.Application(client_max_size=2**30)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    _, port, store, *refused = sys.argv
    server = make(store, *(int(refused[0]), refused[1:]) if refused else ())
    web.run_app(server, host="127.0.0.1", port=int(port), print=None)
