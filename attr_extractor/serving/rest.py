"""TF Serving's REST API on aiohttp, plus /metrics, /healthz and /readyz.

Paths, formats, messages and status codes are TF Serving's (model_servers/http_rest_api_util.cc).
Additional codes: 403 for a Host that is not a loopback name, 408 for a body that takes too long,
413 for a body that is too large, 415 for an unsupported Content-Encoding.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from attr_extractor.serving import (
    json_answers,
    json_requests,
    model_info,
    photo_sizes,
    tensors,
)
from attr_extractor.serving.admission import PendingBytes
from attr_extractor.serving.batching import SMALL, Limits, Workers
from attr_extractor.serving.status import Code, ServingError, invalid
from attr_extractor.serving.tensors import Arrays, Spec
from attr_extractor.serving.versions import Versions
from attr_extractor.web import access
from attr_extractor.web.http_server import Handler, HttpServer

_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?")
_LARGEST_VERSION = 2**63 - 1


class Rest:
    """The REST handlers for one model's versions."""

    def __init__(
        self,
        versions: Versions,
        workers: Workers,
        pending: PendingBytes,
        server: HttpServer,
        max_body_bytes: int,
        loopback: bool,
    ):
        """
        Args:
          loopback: whether the server's address is a loopback one; if so, Host must be one too.
        """
        self._versions = versions
        self._workers = workers
        self._pending = pending
        self._server = server
        self._max_body_bytes = max_body_bytes
        self._loopback = loopback
        self.draining = False

    def application(self) -> web.Application:
        """Return the application with its routes and middlewares."""
        app = web.Application(middlewares=[self._answer, self._server.middleware])
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_route("*", "/v1/{tail:.*}", self._v1)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Convert errors to JSON, and count the request."""
        start, code = time.perf_counter(), Code.UNKNOWN
        try:
            if self._loopback and not access.asked_by_loopback_name(request.host):
                raise ServingError(
                    Code.PERMISSION_DENIED, "use localhost or 127.0.0.1 as this server's name"
                )
            response = await handler(request)
            code = Code.OK
            return response
        except web.HTTPException as refusal:  # an unknown path or method; an invalid body
            code = Code.INVALID_ARGUMENT
            return _json({"error": refusal.reason}, refusal.status)
        except Exception as raised:  # noqa: BLE001 - bugs are logged and reported as INTERNAL
            error = ServingError.of(raised)
            code = error.code
            return _json({"error": error.message}, error.http)
        finally:
            if request.path.startswith("/v1/"):
                seconds = time.perf_counter() - start
                self._workers.metrics.request("rest", code.name, seconds)

    async def _v1(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        predict = _PREDICT.fullmatch(path) if request.method == "POST" else None
        if predict:
            name, number, label, method = predict.groups()
            if method.lower() != "predict":
                raise invalid(f"the model's signatures support :predict, not :{method}")
            return await self._predict(request, unquote(name), _number(number, label))
        asked = _STATUS.fullmatch(path) if request.method == "GET" else None
        if not asked:
            raise invalid(f"Malformed request: {request.method} {path}")
        name, number, label, metadata = asked.groups()
        if not name:
            raise invalid("Missing model name in request.")
        of_model = self._versions, unquote(name), _number(number, label)
        if metadata:
            return _text(model_info.metadata_json(model_info.metadata(*of_model)))
        return _text(model_info.status_json(model_info.status(*of_model)))

    async def _predict(self, request: web.Request, name: str, number: int | None) -> web.Response:
        most_values = self._versions.find(name, number).most_values
        with self._pending.hold() as held:
            sent = await self._server.body(request, self._max_body_bytes, held.grow)
            encoding = request.headers.get("Content-Encoding", "").lower()
            small = len(sent) <= SMALL and not encoding
            body, size = await self._workers.read(
                small, _parse, sent, encoding, self._max_body_bytes, most_values
            )
            await held.grow(size - len(sent))
            del sent
            # only now, so that a slow upload does not keep a version in memory
            with self._versions.use(name, number) as version:
                signature = version.signature(json_requests.signature_name(body))
                inputs = await self._workers.read(
                    small, _inputs, body, signature.inputs, self._workers.limits
                )
                rows = len(next(iter(inputs.values())))
                outputs = await version.queues[signature.name].submit(inputs, rows)
            in_rows = json_requests.row_format(body)
        make = json_answers.predictions if in_rows else json_answers.outputs
        return _json(make(outputs))

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._workers.metrics.page(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self.draining or not self._versions.ready:
            raise ServingError(Code.UNAVAILABLE, "draining" if self.draining else "no version")
        return web.Response(text="ok\n")


def _number(number: str | None, label: str | None) -> int | None:
    if label:
        raise invalid(f"Unrecognized servable version label: {unquote(label)}")
    if number and int(number[:20]) > _LARGEST_VERSION:
        raise invalid(f"Failed to convert version: {number[:20]} to numeric.")
    return int(number) if number else None


def _parse(
    sent: bytes, encoding: str, most_bytes: int, most_values: int
) -> tuple[dict[str, Any], int]:
    """Return a body's JSON, and the number of bytes after decompression."""
    unpacked = json_requests.unpack(sent, encoding, most_bytes)
    return json_requests.parse(unpacked, most_values), len(unpacked)


def _inputs(body: dict[str, Any], specs: Mapping[str, Spec], limits: Limits) -> Arrays:
    inputs = json_requests.tensors(body, specs)
    shapes = {name: array.shape for name, array in inputs.items()}
    tensors.count_rows(shapes, specs, limits.batch_size)
    photo_sizes.check(inputs, limits.megapixels)
    return inputs


def _json(content: Any, status: int = 200) -> web.Response:
    return _text(json.dumps(content), status)


def _text(body: str, status: int = 200) -> web.Response:
    # without a charset: JSON has none
    return web.Response(body=body.encode(), status=status, content_type="application/json")
