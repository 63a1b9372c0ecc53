"""Programs of tools/, each in a process that is forked from one with TensorFlow loaded.

A new interpreter takes 4 to 6 seconds to import TensorFlow, a fork 0.3 seconds. The package itself
is not loaded before the fork: each program imports all of its own modules.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# before the server loads TensorFlow: the programs set it too late for a loaded one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tensorflow", "pandas", "pyarrow.parquet"])


def run(script: Path, arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """Run a script in `folder`; return its exit status and output like subprocess.run."""
    with tempfile.TemporaryDirectory() as made:
        out, err = Path(made, "out"), Path(made, "err")
        argv = [str(script), *arguments]
        process = _PROCESSES.Process(target=_run, args=(argv, folder, dict(os.environ), out, err))
        process.start()
        process.join()
        texts = (path.read_text(encoding="utf-8") if path.exists() else "" for path in (out, err))
        return subprocess.CompletedProcess(argv, process.exitcode, *texts)


def _run(
    argv: list[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path
) -> None:
    """Run in the forked process."""
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name="__main__")
