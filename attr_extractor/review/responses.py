"""What a page's server takes and gives, whatever page it is: JSON bodies, files, pictures."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import pydantic
from aiohttp import web

from attr_extractor.review.access import Handler

B = TypeVar("B", bound=pydantic.BaseModel)


async def read_body(request: web.Request, kind: type[B]) -> B:
    """The JSON body of a POST; raises ValueError, with the reason, where it is not of its kind."""
    try:
        return kind.model_validate(json.loads(await request.read()))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ValueError(f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON body: {error}") from error


def static(content: str, kind: str) -> Handler:
    """Answers every request with the same text."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=content, content_type=kind, charset="utf-8")

    return answer


async def nothing(_request: web.Request) -> web.Response:
    """An answer without content."""
    return web.Response(status=204)


def as_json(content: Any, status: int = 200) -> web.Response:
    """Content as JSON."""
    return web.json_response(content, status=status)


def jpeg(picture: bytes) -> web.Response:
    """The bytes of a JPEG."""
    return web.Response(body=picture, content_type="image/jpeg")
