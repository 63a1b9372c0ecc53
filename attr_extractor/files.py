"""JSON and array files, written whole or not at all, and read with one clear line where broken."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from attr_extractor.errors import InputError, require_file


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file; raises InputError where it is missing or not JSON."""
    try:
        return json.loads(require_file(path, what).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: {what}: not a JSON file: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; raises InputError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable weights file: {error}") from error


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file under a temporary name and renames it."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)
