"""Server of the review page.

On SIGTERM or SIGINT it finishes accepted requests, accepts no new connections and stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from attr_extractor import ownership
from attr_extractor.enrichment.cells import CellsFile, schema_of
from attr_extractor.enrichment.pictures import Photos
from attr_extractor.enrichment.review.api import Api
from attr_extractor.enrichment.review.build_queue import QUEUE, open_queue
from attr_extractor.enrichment.review.queue import LEASE_SECONDS, Queue
from attr_extractor.errors import InputError
from attr_extractor.model.thresholds import Thresholds
from attr_extractor.web import access
from attr_extractor.web.stop import stop_asked

MOST = 100_000  # cells in the queue
_DRAIN_SECONDS = 10.0  # maximum time for running requests at the end


@dataclass(frozen=True)
class ReviewOptions:
    """Settings of the review server."""

    cells: str | Path
    decisions: str | Path
    image_root: str | Path
    schema: str | Path | None = None  # or `model`
    model: str | Path | None = None  # exported model, whose schema and thresholds are used
    run_dir: str | Path | None = None  # for heat maps
    host: str = "127.0.0.1"
    port: int = 8600  # 0: any free port
    token: str = ""
    most: int = MOST
    lease_seconds: float = LEASE_SECONDS


class Server:
    """A review server that starts and stops within one event loop."""

    def __init__(self, options: ReviewOptions):
        """Build the queue or open an existing one; raise InputError if an option is invalid."""
        access.require_safe(options.host, options.token)
        self.options = options
        self.port = 0
        source, thresholds = _cells(options)
        schema = source.schema
        photos = Photos(options.image_root)
        heat = None
        if options.run_dir is not None:
            from attr_extractor.enrichment.review.heat import Heat  # imports TensorFlow

            heat = Heat(options.run_dir, schema, options.image_root)
        self._file, self.summary = open_queue(
            options.decisions, source, schema, thresholds, options.most
        )
        self.queue_id = self._file.facts()[QUEUE]
        queue = Queue(self._file, schema, options.lease_seconds)
        self._api = Api(queue, self.queue_id, schema, photos, heat)

    async def start(self) -> None:
        """Start listening; raise InputError if the port is in use."""
        application = self._api.application(self.options.token)
        place = (self.options.host, self.options.port)
        try:
            self.port = await self._api.http.start(application, *place, _DRAIN_SECONDS)
        except OSError as error:
            await self.stop()
            raise InputError(f"cannot listen on {self.options.host}: {error}") from error

    async def stop(self) -> None:
        """Finish accepted requests, accept no new ones, and close the decisions file."""
        await self._api.http.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._api.close)
        self._file.close()

    @property
    def address(self) -> str:
        """URL of the page, without the token."""
        host = self.options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


_say = partial(print, flush=True)  # a pipe would buffer the lines


def run(options: ReviewOptions, say: Callable[[str], None] = _say) -> None:
    """Serve until SIGTERM or SIGINT; `say` prints the address when requests are accepted.

    Raises:
      InputError: if an option is invalid, or if the port is in use.
      TemporaryError: if another review.py uses the decisions file.
    """
    with ownership.file(options.decisions, "--decisions"):
        server = Server(options)
        say(server.summary)
        asyncio.run(_run(server, say))


async def _run(server: Server, say: Callable[[str], None]) -> None:
    stopped = stop_asked()
    await server.start()
    once = "?token=... (the token of --token_file)" if server.options.token else ""
    say(f"review page: {server.address}{once}")
    await stopped.wait()
    await server.stop()
    say("stopped; all decisions are in the decisions file")


def _cells(options: ReviewOptions) -> tuple[CellsFile, np.ndarray]:
    """Return the cells file and the thresholds of the values, float32 [V]."""
    schema, model = schema_of(options.schema, options.model)
    source = CellsFile(options.cells, schema, model)
    if options.run_dir is not None:
        source.require_run(options.run_dir)
    if model is not None:
        return source, model.thresholds.per_value(schema)
    if options.run_dir is not None:
        path = Path(options.run_dir) / "thresholds.json"
        return source, Thresholds.read(path, schema).per_value(schema)
    return source, Thresholds.of_schema(schema).per_value(schema)
