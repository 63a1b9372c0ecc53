"""What a program does part by part, in a file: one that was killed goes on with the same only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attr_extractor import files
from attr_extractor.errors import InputError

FILE = "job.json"


def left(folder: Path, job: dict[str, Any], what: str) -> dict[str, Any] | None:
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
