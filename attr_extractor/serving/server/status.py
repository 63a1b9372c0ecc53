"""Errors of a request: gRPC status codes and the HTTP codes that TF Serving maps them to."""

from __future__ import annotations

import logging

import tensorflow as tf
from grpc import StatusCode as Code

from attr_extractor.web.log_limit import limit_log_lines

# TF Serving's ToHTTPStatusCode (model_servers/http_server.cc)
HTTP = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
_BY_NUMBER = {code.value[0]: code for code in Code}
_TITLE = "Graph execution error:"  # first line of a Session's message, before the reason
_LONGEST = 500  # characters of a message: a graph's lists its nodes and their Python lines


_LOG = logging.getLogger(__name__)
limit_log_lines(__name__)


class ServingError(Exception):
    """A failed request, with the status codes and message for the client."""

    def __init__(self, code: Code, message: str, http: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ..."
        self.http = http or HTTP.get(code, 500)

    @classmethod
    def of(cls, raised: Exception) -> ServingError:
        """Convert an exception: an OpError keeps its code; anything unknown is a bug, INTERNAL."""
        if isinstance(raised, ServingError):
            return raised
        if isinstance(raised, tf.errors.OpError):
            lines = [line for line in raised.message.splitlines() if line and line != _TITLE]
            return cls(_BY_NUMBER[raised.error_code], lines[0] if lines else raised.message)
        _LOG.error("a request failed", exc_info=raised)
        return cls(Code.INTERNAL, f"the server failed: {type(raised).__name__}")


def invalid(message: str) -> ServingError:
    """Return the error of an invalid request."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def too_large(max_bytes: int) -> ServingError:
    """Return the error of a body that has, or decompresses to, more bytes."""
    message = f"the body has more than {max_bytes:,} bytes"
    return ServingError(Code.RESOURCE_EXHAUSTED, message, http=413)
