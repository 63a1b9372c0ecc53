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


def parts_folder(output: Path) -> Path:
    """Return the folder of parts of an output file."""
    return output.with_name(output.name + ".parts")


@contextmanager
def lock_outputs(outputs: Mapping[str, Path]) -> Iterator[None]:
    """Lock several output files, named by flag; for errors see `ownership.file`."""
    flags: dict[Path, str] = {}
    with ExitStack() as stack:
        for flag, path in outputs.items():
            other = flags.setdefault(path.resolve(), flag)
            if other != flag:
                raise InputError(f"{path}: {flag} and {other} name the same file")
            stack.enter_context(ownership.file(path, flag))
        yield


def relative_paths(outputs: Mapping[str, Path]) -> dict[str, str]:
    """Return the output files as paths relative to the first one's folder, which may be moved."""
    start = next(iter(outputs.values())).parent
    return {flag: os.path.relpath(path, start) for flag, path in outputs.items()}


def require_resumable_or_new(
    outputs: Mapping[str, Path], settings: Mapping[str, Any], problem: str
) -> bool:
    """Return whether the first output has an interrupted job; without one, check the outputs.

    Raises:
      InputError: see `is_interrupted`; or if an output exists without a job that writes it.
    """
    if is_interrupted(parts_folder(next(iter(outputs.values()))), settings, problem):
        return True
    for flag, path in outputs.items():
        require_new_file(path, flag)
    return False


def is_interrupted(folder: Path, settings: Mapping[str, Any], problem: str) -> bool:
    """Return whether an interrupted program left a job with these settings in a folder.

    Args:
      settings: settings of this program, in types that JSON has.
      problem: start of the error message ("out.csv.parts: contains an unfinished prediction").

    Raises:
      InputError: if the folder contains another job; names the first setting that differs.
    """
    if not (folder / FILE).is_file():
        return False
    started = read_job(folder)
    differ = [name for name, value in settings.items() if started.get(name) != value]
    if differ:
        setting = differ[0].replace("_", " ")
        raise InputError(f"{problem} that differs in its {setting}; finish it or remove the folder")
    return True


def read_job(folder: Path) -> dict[str, Any]:
    """Return the content of a job file; raise InputError if it is missing or invalid."""
    content = files.read_json(folder / FILE, "the job")
    if not isinstance(content, dict):
        raise InputError(f"{folder / FILE}: not a job file; remove the folder")
    return content


def write_job(folder: Path, job: Mapping[str, Any]) -> None:
    """Write a job file; raise InputError if that fails."""
    storage.make_folder(folder)
    storage.write(folder / FILE, json.dumps(job).encode())


def remove_job(folder: Path) -> None:
    """Remove a job file and its parts; the file first, as a job without parts is not valid."""
    os.remove(folder / FILE)
    shutil.rmtree(folder)
