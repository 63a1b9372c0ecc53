"""A server of chat completions on the loopback interface, for tests: it answers as it is told."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

from PIL import Image

Behaviour = Callable[["Request"], "Response"]


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    number: int  # from 0
    key: str
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"][0]["text"]

    @property
    def photo(self) -> Image.Image:
        url = self.body["messages"][0]["content"][1]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,")
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))

    @property
    def values(self) -> dict[str, list[str]]:
        """The values to choose from, by attribute."""
        fields = self.body["response_format"]["json_schema"]["schema"]["properties"]
        return {name: f.get("enum") or f["items"]["enum"] for name, f in fields.items()}


@dataclass(frozen=True)
class Response:
    """What the server sends."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """A running server: its address, and the requests until now."""

    address: str
    requests: list[Request] = field(default_factory=list)


def completion(content: Any, tokens: Any = None, usage: tuple[int, int] = (100, 10)) -> Response:
    """Return the response of a model; content that is no text is written as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    logprobs = tokens and {"content": [{"token": t, "logprob": p} for t, p in tokens]}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
        "logprobs": logprobs,
    }
    counted = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": counted}
    return Response({**body, "choices": [choice]})


def first_values(request: Request) -> Response:
    """Answer the first value of every attribute."""
    return completion({name: values[0] for name, values in request.values.items()})


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[Server]:
    """Serve in threads of this process."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                request = Request(len(found.requests), self.headers["Authorization"], body)
                found.requests.append(request)
            response = behaviour(request)
            data = response.body
            data = data.encode() if isinstance(data, str) else json.dumps(data).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client left
                self.send_response(response.status)
                headers = {"Content-Type": "application/json", **response.headers}
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Server(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
