"""What a program does part by part, in a file: one that was killed goes on with the same only.

The folder of parts stands beside the output, `<output>.parts`. It is there until all outputs are:
an output that is found beside the job that makes it is the killed program's, and is made anew.
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
    """The folder of parts of an output file."""
    return output.with_name(output.name + ".parts")


@contextmanager
def owned(outputs: Mapping[str, Path]) -> Iterator[None]:
    """Own several output files, named by flag; errors as of `ownership.file`."""
    seen: dict[str, str] = {}
    with ExitStack() as stack:
        for flag, path in outputs.items():
            other = seen.setdefault(str(path.resolve()), flag)
            if other != flag:
                raise InputError(f"{path}: {flag} and {other} name the same file")
            stack.enter_context(ownership.file(path, flag))
        yield


def names(outputs: Mapping[str, Path]) -> dict[str, str]:
    """Output files as a job names them: as they lie to the first one, which may move with it."""
    start = next(iter(outputs.values())).parent
    return {flag: os.path.relpath(path, start) for flag, path in outputs.items()}


def left_or_new(
    outputs: Mapping[str, Path], job: Mapping[str, Any], what: str
) -> dict[str, Any] | None:
    """See `left`, of the parts of the first output; where none are left, no output may be there.

    Raises:
      InputError: as `left`; or there is an output, and no job that makes it.
    """
    found = left(folder_of(next(iter(outputs.values()))), job, what)
    if found is None:
        for flag, path in outputs.items():
            require_new_file(path, flag)
    return found


def left(folder: Path, job: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """The job that a killed program left in a folder; None where there is none.

    Args:
      job: what this program is about to do, of what JSON knows.
      what: it, in words, and where ("out.csv.parts: holds a half-done prediction").

    Raises:
      InputError: what was left is another job; names the first part of it that differs.
    """
    if not (folder / FILE).is_file():
        return None
    found = files.read_json(folder / FILE, "the job")
    differ = [name for name, value in job.items() if found.get(name) != value]
    if differ:
        other = differ[0].replace("_", " ")
        raise InputError(f"{what} of another {other}; finish that one, or remove the folder")
    return dict(found)


def begin(folder: Path, job: Mapping[str, Any]) -> None:
    """Writes a job; InputError where that cannot be."""
    storage.make_folder(folder)
    storage.write(folder / FILE, json.dumps(job).encode())


def remove(folder: Path) -> None:
    """Removes a job and its parts, the job first: without its parts it would not be the same."""
    os.remove(folder / FILE)
    shutil.rmtree(folder)
