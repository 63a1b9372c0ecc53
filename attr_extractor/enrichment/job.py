"""Job files: an interrupted program resumes only the job that it started.

The folder of parts is `<output>.parts`, in the folder of the output. It exists until all outputs
are written. An output that exists together with its job file was written by the interrupted
program and is written again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attr_extractor import files, ownership, storage
from attr_extractor.errors import InputError, require_new_file

FILE = "job.json"


def folder_of(output: Path) -> Path:
    """Return the folder of parts of an output file."""
    return output.with_name(output.name + ".parts")


@contextmanager
def owned(outputs: Mapping[str, Path]) -> Iterator[None]:
    """Lock several output files, named by flag; for errors see `ownership.file`."""
    seen: dict[str, str] = {}
    with ExitStack() as stack:
        for flag, path in outputs.items():
            other = seen.setdefault(str(path.resolve()), flag)
            if other != flag:
                raise InputError(f"{path}: {flag} and {other} name the same file")
            stack.enter_context(ownership.file(path, flag))
        yield


def names(outputs: Mapping[str, Path]) -> dict[str, str]:
    """Return the output files as paths relative to the first one's folder, which may be moved."""
    start = next(iter(outputs.values())).parent
    return {flag: os.path.relpath(path, start) for flag, path in outputs.items()}


def left_or_new(
    outputs: Mapping[str, Path], job: Mapping[str, Any], what: str
) -> dict[str, Any] | None:
    """Return the interrupted job of the first output, see `left`; without one, check the outputs.

    Raises:
      InputError: see `left`; or if an output exists without a job that writes it.
    """
    found = left(folder_of(next(iter(outputs.values()))), job, what)
    if found is None:
        for flag, path in outputs.items():
            require_new_file(path, flag)
    return found


def left(folder: Path, job: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """Return the job that an interrupted program left in a folder, or None.

    Args:
      job: settings of this program, in types that JSON has.
      what: start of the error message ("out.csv.parts: contains an unfinished prediction").

    Raises:
      InputError: if the folder contains another job; names the first setting that differs.
    """
    if not (folder / FILE).is_file():
        return None
    found = files.read_json(folder / FILE, "the job")
    differ = [name for name, value in job.items() if found.get(name) != value]
    if differ:
        other = differ[0].replace("_", " ")
        raise InputError(f"{what} that differs in its {other}; finish it or remove the folder")
    return dict(found)


def begin(folder: Path, job: Mapping[str, Any]) -> None:
    """Write a job file; raise InputError if that fails."""
    storage.make_folder(folder)
    storage.write(folder / FILE, json.dumps(job).encode())


def remove(folder: Path) -> None:
    """Remove a job file and its parts; the file first, as a job without parts is not valid."""
    os.remove(folder / FILE)
    shutil.rmtree(folder)
