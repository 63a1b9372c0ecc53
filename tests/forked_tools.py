"""Programs, each in a process that is forked from one with TensorFlow loaded.

A new interpreter takes 4 to 6 seconds to import TensorFlow, a fork 0.3 seconds. The package itself
is not loaded before the fork: each program imports all of its own modules.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path

# before the server loads TensorFlow: the programs set it too late for a loaded one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tensorflow", "pandas", "pyarrow.parquet"])


class Program:
    """A running program, to be used like a subprocess.Popen whose output is read at its end.

    Args:
      script: the path of a file, or source text.
      arguments: follow the script in sys.argv.
      folder: where it runs.
      environment: its variables, by default those of this process.
      new_session: whether it is the first process of a session, as for `os.killpg`.
    """

    def __init__(
        self,
        script: Path | str,
        arguments: list[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        new_session: bool = False,
    ):
        self.args = [str(script) if isinstance(script, Path) else "-c", *arguments]
        self._made = tempfile.TemporaryDirectory()
        self._streams = [Path(self._made.name, name) for name in ("out", "err")]
        settings = dict(os.environ if environment is None else environment)
        given = (script, self.args, folder, settings, *self._streams, new_session)
        self._process = _PROCESSES.Process(target=_run, args=given)
        self._process.start()
        atexit.register(self._process.kill)  # else the end of the tests waits for it
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    returncode = property(poll)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; raises subprocess.TimeoutExpired as Popen does."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return the outputs."""
        self.wait(timeout)
        out, err = (
            path.read_text(encoding="utf-8") if path.exists() else "" for path in self._streams
        )
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def run(
    script: Path | str,
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run a script in `folder`; return its exit status and output like subprocess.run."""
    program = Program(script, arguments, folder, environment)
    out, err = program.communicate()
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def _run(
    script: Path | str,
    argv: list[str],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    new_session: bool,
) -> None:
    """Run in the forked process."""
    if new_session:
        os.setsid()
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = argv
    try:
        if isinstance(script, Path):
            sys.path.insert(0, str(script.parent))
            runpy.run_path(str(script), run_name="__main__")
        else:
            main = types.ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(script, "<string>", "exec"), main.__dict__)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves without them
