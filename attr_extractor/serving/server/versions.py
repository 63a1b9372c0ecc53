"""The versions of one model: a new one is loaded and warmed up before it replaces the current one.

A request holds its version until it is answered; a version is closed once no request holds it. A
version that cannot be loaded changes nothing. It is retried when files in its folder change, since
it may still be in the process of being copied.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Tuple

from absl import logging
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusResponse,
    ModelVersionStatus,
)

from attr_extractor import storage, working_copy
from attr_extractor.errors import InputError
from attr_extractor.serving import model_dir
from attr_extractor.serving.server import loaded, tensors
from attr_extractor.serving.server.batching import Queue, Workers
from attr_extractor.serving.server.loaded import LoadedModel, Signature
from attr_extractor.serving.server.status import Code, ServingError, invalid

SIGNATURES = "signature_def"  # the only metadata field, as in TF Serving
_REMEMBERED = 20  # unloaded versions whose status is kept
FileStat = Tuple[str, int, int]  # name, size and time of change


@dataclass
class Version:
    """A loaded version and the queues of its signatures."""

    number: int
    model: LoadedModel
    queues: dict[str, Queue]
    max_json_values: int  # in a request's JSON, maximum over the signatures
    users: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def signature(self, name: str) -> Signature:
        """Return a signature by name; raise ServingError with TF Serving's message."""
        if name not in self.queues:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.model.signatures[name]


@dataclass(frozen=True)
class State:
    """The state of a version for GetModelStatus."""

    state: int  # of ModelVersionStatus.State
    error: str = ""


class Versions:
    """A watcher of a folder of version folders; use it within one event loop."""

    def __init__(self, name: str, folder: str | Path, workers: Workers, poll_seconds: float):
        self.name = name
        self.states: dict[int, State] = {}
        self._folder = folder
        self._workers = workers
        self._poll_seconds = poll_seconds
        # one thread only, so that a load reuses the heap of the previous one
        self._loader = ThreadPoolExecutor(1, "loader")
        self._current: Version | None = None
        self._failed: dict[int, list[Any]] = {}  # by version: its files when it failed
        self._closing: set[asyncio.Task] = set()
        self._watching: asyncio.Task | None = None

    async def start(self) -> None:
        """Load the newest version and start watching the folder.

        Raises:
          InputError: if no version can be loaded.
        """
        await self._load_newest()
        if self._current is None:
            errors = "; ".join(f"{n}: {state.error}" for n, state in self.states.items())
            none = "there is no numbered folder that contains saved_model.pb"
            raise InputError(f"{self._folder}: no version could be loaded: {errors or none}")
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Wait for the last requests, then free all memory."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._replace(None)
        await asyncio.gather(*self._closing)
        self._loader.shutdown()

    @property
    def ready(self) -> bool:
        """Whether a version is being served."""
        return self._current is not None

    def find(self, name: str, number: int | None) -> Version:
        """Return the current version if it has this name and number; else raise ServingError."""
        version = self._current
        if name != self.name or version is None or number not in (None, version.number):
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {which}")
        return version

    @contextmanager
    def use(self, name: str, number: int | None) -> Iterator[Version]:
        """Yield the version of this number, or the newest; it stays loaded while in use.

        Raises:
          ServingError: if there is none.
        """
        version = self.find(name, number)
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            version.left.set()

    def status(self, name: str, number: int | None) -> GetModelStatusResponse:
        """Return the state of one version, or of all; raise ServingError if there is none."""
        known = self.states if name == self.name else {}
        if number is not None and number not in known:
            raise ServingError(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
        if not known:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        response = GetModelStatusResponse()
        for each in [number] if number is not None else sorted(known, reverse=True):
            line = response.model_version_status.add(version=each, state=known[each].state)
            line.status.error_message = known[each].error
            if known[each].error:
                line.status.error_code = Code.UNKNOWN.value[0]
        return response

    def metadata(
        self, name: str, number: int | None, fields: Iterable[str] = (SIGNATURES,)
    ) -> GetModelMetadataResponse:
        """Return the signatures of a version; raise ServingError for other fields."""
        fields = list(fields)
        if not fields:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for each in fields:
            if each != SIGNATURES:
                raise invalid(f"Metadata field {each} is not supported")
        response = GetModelMetadataResponse()
        with self.use(name, number) as version:
            signatures = SignatureDefMap()
            for key, signature in version.model.signature_def.items():
                signatures.signature_def[key].CopyFrom(signature)
            response.model_spec.name = name
            response.model_spec.version.value = version.number
        response.metadata[SIGNATURES].Pack(signatures)
        return response

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self._load_newest()

    async def _load_newest(self) -> None:
        """Load the highest version that can be loaded, unless it is the current one."""
        try:
            on_disk = await asyncio.to_thread(_version_folders, self._folder)
        except (OSError, InputError) as error:  # a file removed during listing, a network drive
            logging.warning("%s cannot be listed, retrying later: %s", self._folder, error)
            return
        for number in sorted(on_disk, reverse=True):
            if self._current is not None and number == self._current.number:
                return
            if self._failed.get(number) == on_disk[number]:
                continue
            if await self._load(number):
                self._failed = {n: files for n, files in self._failed.items() if n > number}
                return
            self._failed[number] = on_disk[number]

    async def _load(self, number: int) -> bool:
        self._set(number, ModelVersionStatus.LOADING)
        loop, path = asyncio.get_running_loop(), storage.join(self._folder, str(number))
        loading = loop.run_in_executor(self._loader, self._load_model, path)
        model = (await asyncio.gather(loading, return_exceptions=True))[0]
        if isinstance(model, BaseException):
            logging.error("version %d of %s cannot be loaded: %s", number, self.name, model)
            self._set(number, ModelVersionStatus.END, f"{type(model).__name__}: {model}")
            self._workers.metrics.loads.labels("failed").inc()
            return False
        queues = {
            name: Queue(signature, self._workers) for name, signature in model.signatures.items()
        }
        rows = self._workers.limits.batch_size
        values = max(tensors.max_json_values(s.inputs, rows) for s in model.signatures.values())
        self._set(number, ModelVersionStatus.AVAILABLE)
        self._replace(Version(number, model, queues, values))
        self._workers.metrics.loads.labels("ok").inc()
        self._workers.metrics.version.set(number)
        logging.info("version %d of %s is being served", number, self.name)
        return True

    def _load_model(self, path: str) -> LoadedModel:
        model = LoadedModel(working_copy.folder(path))
        try:
            model.warm_up(self._workers.limits.batch_size)
        except BaseException:
            model.close()
            raise
        loaded.trim()  # optimising graphs takes far more memory than the result
        return model

    def _replace(self, version: Version | None) -> None:
        old, self._current = self._current, version
        if old is not None:
            self._set(old.number, ModelVersionStatus.UNLOADING)
            task = asyncio.get_running_loop().create_task(self._close(old))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, version: Version) -> None:
        while version.users:
            version.left.clear()
            await version.left.wait()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._loader, version.model.close)
        self._set(version.number, ModelVersionStatus.END)
        del version  # the last reference, except for cycles within the graphs
        await loop.run_in_executor(self._loader, loaded.collect)

    def _set(self, number: int, state: int, error: str = "") -> None:
        self.states[number] = State(state, error)
        gone = [n for n in sorted(self.states) if self.states[n].state == ModelVersionStatus.END]
        for old in gone[:-_REMEMBERED]:
            del self.states[old]


def _version_folders(folder: str | Path) -> dict[int, list[Any]]:
    """Return, by number, the files of each version folder with a model: names, sizes, times."""
    if storage.is_remote(folder):
        return _versions_in_bucket(str(folder))
    versions: dict[int, list[FileStat]] = {}
    for path in Path(folder).iterdir():
        number = int(path.name) if path.name.isdecimal() else -1
        if path.name == str(number) and (path / "saved_model.pb").is_file():
            files = [(str(file), file.stat()) for file in sorted(path.rglob("*"))]
            versions[number] = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return versions


def _versions_in_bucket(folder: str) -> dict[int, list[Any]]:
    """Return, by number, the files of each version whose upload is finished."""
    versions = {}
    for number, path in model_dir.versions(folder).items():
        with contextlib.suppress(InputError):  # being uploaded, or only in part
            files = working_copy.files_in(path)
            if "saved_model.pb" in files:
                versions[number] = sorted(files.items())
    return versions
