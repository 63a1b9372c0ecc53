"""Job files: an interrupted program resumes only the job that it started.

The folder of parts is `<output>.parts`, in the folder of the output. It exists until all outputs
are written. An output that exists together with its job file was written by the interrupted
program and is written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attr_extractor import files, ownership, storage
from attr_extractor.errors import InputError

FILE = "job.json"


def parts_folder(output: str | Path) -> str:
    """Return the folder of parts of an output file."""
    return f"{output}.parts"


@contextmanager
def lock_outputs(outputs: Mapping[str, str | Path]) -> Iterator[None]:
    """Lock several output files, named by flag; for errors see `ownership.file`."""
    flags: dict[str, str] = {}
    with ExitStack() as stack:
        for flag, path in outputs.items():
            other = flags.setdefault(storage.resolve(path), flag)
            if other != flag:
                raise InputError(f"{path}: {flag} and {other} name the same file")
            stack.enter_context(ownership.file(path, flag))
        yield


def relative_paths(outputs: Mapping[str, str | Path]) -> dict[str, str]:
    """Return the output files as paths relative to the first one's folder, which may be moved."""
    start = storage.parent(next(iter(outputs.values())))
    return {flag: os.path.relpath(path, start) for flag, path in outputs.items()}


def require_resumable_or_new(
    outputs: Mapping[str, str | Path], settings: Mapping[str, Any], problem: str
) -> bool:
    """Return whether the first output has an interrupted job; without one, check the outputs.

    Raises:
      InputError: see `is_interrupted`; or if an output exists without a job that writes it.
    """
    if is_interrupted(parts_folder(next(iter(outputs.values()))), settings, problem):
        return True
    for flag, path in outputs.items():
        storage.require_new_file(path, flag)
    return False


def is_interrupted(folder: str | Path, settings: Mapping[str, Any], problem: str) -> bool:
    """Return whether an interrupted program left a job with these settings in a folder.

    Args:
      settings: settings of this program, in types that JSON has.
      problem: start of the error message ("out.csv.parts: contains an unfinished prediction").

    Raises:
      InputError: if the folder contains another job; names the first setting that differs.
    """
    if not storage.exists(storage.join(folder, FILE)):
        return False
    started = read_job(folder)
    differ = [name for name, value in settings.items() if started.get(name) != value]
    if differ:
        setting = differ[0].replace("_", " ")
        raise InputError(f"{problem} that differs in its {setting}; finish it or remove the folder")
    return True


def read_job(folder: str | Path) -> dict[str, Any]:
    """Return the content of a job file; raise InputError if it is missing or invalid."""
    path = storage.join(folder, FILE)
    content = files.read_json(path, "the job")
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a job file; remove the folder")
    return content


def write_job(folder: str | Path, job: Mapping[str, Any]) -> None:
    """Write a job file; raise InputError if that fails."""
    storage.make_folder(folder)
    storage.write(storage.join(folder, FILE), json.dumps(job).encode())


def remove_job(folder: str | Path) -> None:
    """Remove a job file and its parts; the file first, as a job without parts is not valid."""
    storage.remove(storage.join(folder, FILE))
    storage.remove_folder(folder)
