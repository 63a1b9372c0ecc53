"""TF Serving's REST API on aiohttp, with /metrics, /healthz and /readyz beside it.

Paths, formats, messages and status codes are TF Serving's (model_servers/http_rest_api_util.cc);
ours besides: 413 for a body that is too large.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import web

from attr_extractor.serving import json_answers, json_requests, model_info, photo_sizes, tensors
from attr_extractor.serving.admission import PendingBytes
from attr_extractor.serving.batching import Workers
from attr_extractor.serving.status import REFUSALS, Code, ServingError, invalid
from attr_extractor.serving.versions import Versions

_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?")
_LARGEST_VERSION = 2**63 - 1
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """The handlers, around one model's versions."""

    def __init__(
        self, versions: Versions, workers: Workers, pending: PendingBytes, max_body_bytes: int
    ):
        self._versions = versions
        self._workers = workers
        self._pending = pending
        self._max_body_bytes = max_body_bytes
        self.draining = False

    def application(self) -> web.Application:
        """Routes and limits."""
        app = web.Application(client_max_size=self._max_body_bytes, middlewares=[self._answer])
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_route("*", "/v1/{tail:.*}", self._v1)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns refusals into JSON, and counts."""
        start, code = time.perf_counter(), Code.UNKNOWN
        try:
            response = await handler(request)
            code = Code.OK
            return response
        except REFUSALS as raised:
            error = ServingError.of(raised)
            code = error.code
            return _json(json_answers.error(error.message), error.http)
        except web.HTTPException as error:  # aiohttp's own: unknown paths and methods
            code = Code.INVALID_ARGUMENT
            return _json(json_answers.error(error.reason), error.status)
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
                raise invalid(f"the model's signatures answer :predict, not :{method}")
            return await self._predict(request, unquote(name), _number(number, label))
        asked = _STATUS.fullmatch(path) if request.method == "GET" else None
        if not asked:
            raise invalid(f"Malformed request: {request.method} {path}")
        name, number, label, metadata = asked.groups()
        if not name:
            raise invalid("Missing model name in request.")
        of_model = self._versions, unquote(name), _number(number, label)
        if metadata:
            return _json(model_info.metadata_json(model_info.metadata(*of_model)))
        return _json(model_info.status_json(model_info.status(*of_model)))

    async def _predict(self, request: web.Request, name: str, number: int | None) -> web.Response:
        limit = self._max_body_bytes
        length = limit if request.content_length is None else request.content_length
        if length > limit:
            raise _too_large(limit)
        with self._versions.use(name, number) as version, self._pending.hold(length):
            body = json_requests.parse(await self._body(request))
            signature = version.signature(json_requests.signature_name(body))
            inputs = json_requests.tensors(body, signature.inputs)
            shapes = {name: array.shape for name, array in inputs.items()}
            rows = tensors.count_rows(shapes, signature.inputs, self._workers.limits.batch_size)
            photo_sizes.check(inputs, self._workers.limits.megapixels)
            outputs = await version.queues[signature.name].submit(inputs, rows)
            in_rows = json_requests.row_format(body)
        return _json(
            json_answers.predictions(outputs) if in_rows else json_answers.outputs(outputs)
        )

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as error:  # one of unknown length, or compressed
            raise _too_large(self._max_body_bytes) from error

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


def _too_large(limit: int) -> ServingError:
    message = f"the body has more than {limit:,} bytes"
    return ServingError(Code.RESOURCE_EXHAUSTED, message, http=413)


def _json(body: str | bytes, status: int = 200) -> web.Response:
    body = body.encode() if isinstance(body, str) else body
    return web.Response(body=body, status=status, content_type="application/json")
