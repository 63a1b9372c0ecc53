"""TF Serving's REST API on aiohttp, plus /metrics, /healthz and /readyz.

Paths, formats, messages and status codes are TF Serving's (model_servers/http_rest_api_util.cc).
Additional codes: 403 for a Host that is not a loopback name, 408 for a body that takes too long,
413 for a body that is too large, 415 for an unsupported Content-Encoding.
"""

from __future__ import annotations

import inspect
import json
import re
import time
from typing import Any, NamedTuple
from urllib.parse import unquote

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)

from attr_extractor.serving.server import predict_json, tensors
from attr_extractor.serving.server.batching import SMALL, Limits, PendingBytes, Workers
from attr_extractor.serving.server.loaded import DEFAULT
from attr_extractor.serving.server.predict_json import PredictBody
from attr_extractor.serving.server.status import Code, ServingError, invalid
from attr_extractor.serving.server.tensors import Arrays, Specs
from attr_extractor.serving.server.versions import SIGNATURES, Versions
from attr_extractor.web import access
from attr_extractor.web.http_server import Handler, HttpServer

_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?")
_LARGEST_VERSION = 2**63 - 1
_ALL_FIELDS = {  # one option, by its name in protobuf 4 and in newer releases
    name: True
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in inspect.signature(json_format.MessageToDict).parameters
}


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
            return _error_response(refusal.reason, refusal.status)
        except Exception as raised:  # noqa: BLE001 - bugs are logged and reported as INTERNAL
            error = ServingError.of(raised)
            code = error.code
            return _error_response(error.message, error.http)
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
            return await self._predict(request, unquote(name), _version(number, label))
        asked = _STATUS.fullmatch(path) if request.method == "GET" else None
        if not asked:
            raise invalid(f"Malformed request: {request.method} {path}")
        name, number, label, metadata = asked.groups()
        if not name:
            raise invalid("Missing model name in request.")
        of_model = unquote(name), _version(number, label)
        if metadata:
            return _json_response(_metadata_json(self._versions.metadata(*of_model)))
        return _json_response(json.dumps(_to_dict(self._versions.status(*of_model))))

    async def _predict(self, request: web.Request, name: str, number: int | None) -> web.Response:
        max_values = self._versions.find(name, number).max_json_values
        with self._pending.hold() as held:
            sent = await self._server.body(request, self._max_body_bytes, held.grow)
            encoding = request.headers.get("Content-Encoding", "").lower()
            small = len(sent) <= SMALL and not encoding
            body, size = await self._workers.parse(
                small, _parse, sent, encoding, self._max_body_bytes, max_values
            )
            await held.grow(size - len(sent))
            del sent
            # only now, so that a slow upload does not keep a version in memory
            with self._versions.use(name, number) as version:
                signature = version.signature(body.signature_name or DEFAULT)
                inputs = await self._workers.parse(
                    small, _inputs, body, signature.inputs, self._workers.limits
                )
                rows = len(next(iter(inputs.values())))
                outputs = await version.queues[signature.name].submit(inputs, rows)
        return _json_response(predict_json.format_response(outputs, body.in_rows))

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


def _version(number: str | None, label: str | None) -> int | None:
    if label:
        raise invalid(f"Unrecognized servable version label: {unquote(label)}")
    if number and int(number[:20]) > _LARGEST_VERSION:
        raise invalid(f"Failed to convert version: {number[:20]} to numeric.")
    return int(number) if number else None


class _Parsed(NamedTuple):
    body: PredictBody
    size: int  # bytes after decompression


def _parse(sent: bytes, encoding: str, max_bytes: int, max_values: int) -> _Parsed:
    content = predict_json.decompress(sent, encoding, max_bytes)
    return _Parsed(predict_json.parse_body(content, max_values), len(content))


def _inputs(body: PredictBody, specs: Specs, limits: Limits) -> Arrays:
    inputs = body.tensors(specs)
    shapes = {name: array.shape for name, array in inputs.items()}
    tensors.count_rows(shapes, specs, limits.batch_size)
    tensors.check_photos(inputs, limits.megapixels)
    return inputs


def _metadata_json(response: GetModelMetadataResponse) -> str:
    """Return the metadata in TF Serving's format: signatures without the wrapper's type."""
    signatures = SignatureDefMap()
    response.metadata[SIGNATURES].Unpack(signatures)
    model, metadata = _to_dict(response.model_spec), {SIGNATURES: _to_dict(signatures)}
    return json.dumps({"model_spec": model, "metadata": metadata})


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **_ALL_FIELDS)


def _error_response(message: str, status: int) -> web.Response:
    return _json_response(json.dumps({"error": message}), status)


def _json_response(body: str, status: int = 200) -> web.Response:
    # without a charset: JSON has none
    return web.Response(body=body.encode(), status=status, content_type="application/json")
