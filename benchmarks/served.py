"""A local server of an exported model, and the same model without one; for benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from attr_extractor.errors import InputError
from attr_extractor.serving.model_dir import versions
from attr_extractor.serving.server.loaded import LoadedModel
from benchmarks import checkout

PHOTOS = 64  # distinct photos, sent repeatedly
_PROGRAM = checkout.ROOT / "tools" / "serve.py"


def bare(version: Path, files: list[bytes]) -> list[str]:
    """Return lines with the time of the network alone and with decoding, in this process."""
    model = LoadedModel(version)
    lines = []
    for rows in (1, 8, 32):
        spec = model.signatures["pixels"].inputs["pixels"]
        pixels = {"pixels": np.zeros([rows, *spec.shape[1:]], np.uint8)}
        encoded = {"image_bytes": np.array(files[:rows], object)}
        times = []
        for name, inputs in (("pixels", pixels), ("serving_default", encoded)):
            seconds = []
            for _ in range(22):
                start = time.perf_counter()
                model.signatures[name].run(inputs)
                seconds.append(time.perf_counter() - start)
            times.append(np.median(seconds[2:]) * 1e3)
        lines.append(f"bare, batch {rows}: network {times[0]:.1f} ms, with decoding {times[1]:.1f}")
    model.close()
    return lines


@contextmanager
def server(folder: Path, log: Path) -> Iterator[tuple[subprocess.Popen, list[str]]]:
    """Run serve.py, logging to a file; yield its process and its REST and gRPC addresses."""
    command = [sys.executable, str(_PROGRAM), f"--model={folder}", "--port=0", "--grpc_port=0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=checkout.environment(),
        )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        if not all(lines):
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-1000:]}")
        rest, grpc = (line.split()[1] for line in lines)
        yield process, [rest.split("/v1/")[0], f"grpc://{grpc}"]
    finally:
        process.terminate()
        process.wait()


def add_version(version: Path, folder: Path, number: int) -> None:
    """Copy an exported version into the folder that is served, at once."""
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{number}"
    shutil.copytree(version, temporary)
    temporary.rename(folder / str(number))


def newest_version(model: Path) -> Path:
    """Return the folder of a model's newest version; raise InputError if it has none."""
    existing = versions(model)
    if not existing:
        raise InputError(f"{model}: contains no version folders; run attr-extractor export")
    return Path(existing[max(existing)])


def read_photos(photos: Path) -> list[bytes]:
    """Return the first PHOTOS JPEG files of a folder; raise InputError if it has fewer."""
    found = sorted(photos.glob("*.jp*g"))[:PHOTOS]
    if len(found) < PHOTOS:
        raise InputError(f"{photos}: contains {len(found)} JPEG files; {PHOTOS} are required")
    return [path.read_bytes() for path in found]
