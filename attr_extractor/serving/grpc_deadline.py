"""A deadline for the messages of gRPC calls: gRPC itself waits for the rest of one for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc


class MessageDeadline(grpc.aio.ServerInterceptor):
    """Abort a unary call with DEADLINE_EXCEEDED if its message has not arrived after `seconds`.

    A unary call is on the wire what a stream of one message is. As a stream it reaches its handler
    before the message, so that the wait for the message can end.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the method's handler, one of a stream instead of a unary one."""
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
