"""Call a vision-language model behind an OpenAI-compatible endpoint.

The client of the openai package repeats calls after 429, 5xx and timeouts, with growing waits and
as Retry-After says (up to a minute). The key is read from OPENAI_API_KEY; no message of this
package contains it.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, List, Optional, Tuple
from urllib.parse import urlsplit

import pydantic

from attr_extractor import yaml_files
from attr_extractor.errors import InputError, extra
from attr_extractor.sources.questions import Question

if TYPE_CHECKING:
    import openai

KEY = "OPENAI_API_KEY"
_NO_KEY = "none"  # sent without a key; a server on the own machine does not look at it
_REFUSED = {401: "the key is not accepted", 403: "access is refused", 404: "no such model or path"}


class CallError(Exception):
    """A call without an answer, after all repetitions; the message is the reason."""


class EndpointOptions(yaml_files.Model):
    """How a model is called."""

    endpoint: str  # http://HOST/v1
    model: str
    timeout: float = 60.0  # seconds of one try
    retries: int = 5
    requests_per_minute: float = 0.0  # 0: no limit; repetitions do not count
    logprobs: bool = False
    temperature: Optional[float] = None  # None: not sent

    @pydantic.field_validator("endpoint")
    @classmethod
    def _endpoint_is_a_web_address(cls, endpoint: str) -> str:
        try:
            parts = urlsplit(endpoint)
            _ = parts.port  # read to be checked
            usable = parts.scheme in ("http", "https") and parts.hostname
        except ValueError:  # a port that is no number, or half an IPv6 address
            usable = None
        if not usable:
            raise InputError(f"--endpoint={endpoint}: write http://HOST/v1 or https://HOST/v1")
        return endpoint


@dataclass(frozen=True)
class Reply:
    """A model's answer."""

    content: str
    tokens_in: Optional[int]  # as the endpoint counts them; None if it does not
    tokens_out: Optional[int]
    tokens: Optional[List[Tuple[str, float]]] = field(default=None)  # see `questions.Tokens`


class Endpoint:
    """An open connection; see `connected`."""

    def __init__(self, client: openai.AsyncOpenAI, options: EndpointOptions):
        self._client, self._options = client, options
        self._next = 0.0  # time of the next call

    async def ask(self, question: Question, photo: bytes) -> Reply:
        """Return the answer to a question about a photo.

        Args:
          photo: a stored photo, JPEG.

        Raises:
          CallError: if the endpoint does not answer.
          InputError: if it refuses the key or does not know the model.
        """
        import openai

        await self._pace()
        url = f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"
        content = [
            {"type": "text", "text": question.prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        request: dict[str, Any] = {
            "model": self._options.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": question.response_format,
        }
        if self._options.logprobs:
            request["logprobs"] = True
        if self._options.temperature is not None:
            request["temperature"] = self._options.temperature
        try:
            completion: Any = await self._client.chat.completions.create(**request)
        except openai.APIStatusError as error:
            said = f"HTTP {error.status_code}: {_without_key(str(error.message))}"
            if error.status_code in _REFUSED:
                where = f"{self._options.endpoint}, model {self._options.model!r}"
                why = _REFUSED[error.status_code]
                raise InputError(f"{where}: {why} (the key is read from {KEY}): {said}") from error
            raise CallError(said) from error
        except openai.OpenAIError as error:
            raise CallError(_without_key(str(error)) or type(error).__name__) from error
        except ValueError as error:  # a body that is not JSON
            raise CallError(f"not a chat completion: {_without_key(str(error))}") from error
        return _reply(completion)

    async def _pace(self) -> None:
        """Wait so that calls start evenly, at most `requests_per_minute` of them."""
        if self._options.requests_per_minute:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next)
            self._next = start + 60 / self._options.requests_per_minute
            await asyncio.sleep(start - now)


def require_package() -> None:
    """Raise InputError if the openai package is not installed."""
    with extra("vlm"):
        import openai  # noqa: F401


@asynccontextmanager
async def connected(options: EndpointOptions) -> AsyncIterator[Endpoint]:
    """Connect to an endpoint; no request is sent yet."""
    import openai

    client = openai.AsyncOpenAI(
        api_key=os.environ.get(KEY) or _NO_KEY,
        base_url=options.endpoint,
        timeout=options.timeout,
        max_retries=options.retries,
    )
    async with client:
        yield Endpoint(client, options)


def _reply(completion: Any) -> Reply:
    """Return what a completion says; an endpoint may send any JSON."""
    try:
        choice = completion.choices[0]
        content, listed = choice.message.content, getattr(choice, "logprobs", None)
        tokens = None
        if listed and listed.content:
            tokens = [(str(token.token), float(token.logprob)) for token in listed.content]
        usage = getattr(completion, "usage", None)
        counts = [getattr(usage, f"{name}_tokens", None) for name in ("prompt", "completion")]
        tokens_in, tokens_out = (None if count is None else int(count) for count in counts)
        if not (content is None or isinstance(content, str)):
            raise TypeError("content")
    except (AttributeError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise CallError("the endpoint's answer is not a chat completion") from error
    return Reply(content or "", tokens_in, tokens_out, tokens)


def _without_key(text: str) -> str:
    key = os.environ.get(KEY)
    return text.replace(key, "***") if key else text
