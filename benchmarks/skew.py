"""Measure the skew of an exported model on a folder of photos; see serving/skew.py."""

from __future__ import annotations

from pathlib import Path

from attr_extractor.errors import InputError
from attr_extractor.serving import model_dir, skew


def measure(model: str, photos: str, count: int) -> str:
    """Return the skew on at most `count` files below `photos`, spread over the folder.

    Raises:
      InputError: if there is no model, or no file.
    """
    files = sorted(path for path in Path(photos).rglob("*") if path.is_file())
    if not files:
        raise InputError(f"{photos}: no files; name a folder of photos with --photos")
    chosen = files[:: max(1, len(files) // count)][:count]
    return str(skew.measure(model_dir.load(model), [path.read_bytes() for path in chosen]))
