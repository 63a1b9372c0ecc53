"""Deadline for gRPC request messages; gRPC alone waits indefinitely for the rest of a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc


class MessageDeadline(grpc.aio.ServerInterceptor):
    """Abort a unary call with DEADLINE_EXCEEDED if its message has not arrived after `seconds`.

    On the wire a unary call equals a stream of one message. A stream's handler is called before the
    message has arrived, so it can limit the wait.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the method's handler; a unary one is replaced by a stream handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            try:
                message = await asyncio.wait_for(messages.__anext__(), self._seconds)
            except asyncio.TimeoutError:
                why = f"the message took more than {self._seconds:g} seconds"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, why)
            except StopAsyncIteration:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
            return await handler.unary_unary(message, context)

        return grpc.stream_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
