"""A job service of Beam and pools of workers that have only the wheel and the bucket.

Every process has a working directory, a home and a folder of temporary files of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.buckets import free_port

ROOT = Path(__file__).resolve().parents[1]
STORE = ("AWS_", "FSSPEC_", "GCSFS_", "STORAGE_")  # start of names of variables that set a store
Run = Callable[..., subprocess.Popen]
CONNECT = """
import socket, sys, time
for _ in range(600):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit(1)
"""


def install(folder: Path) -> Path:
    """Build the wheel, install it beside this environment's packages; return the `bin` folder."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("attr_extractor", "configs"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("setup.py", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(folder), str(source)], check=True, capture_output=True)
    venv.create(folder / "env", symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "env" / "lib" / version / "site-packages"
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    # a path file in that folder, such as that of an editable install, is not read
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "env" / "bin"


class Cluster:
    """A job service on one host, and pools on others.

    Args:
      folder: holds the processes' folders and logs.
      programs: the `bin` folder of the installed wheel.
      pools: how to start the process of each pool, and the host's name.
      run: how to start all other processes.
    """

    def __init__(
        self,
        folder: Path,
        programs: Path,
        pools: list[tuple[Run, str]],
        run: Run = subprocess.Popen,
    ):
        self.folder, self._programs, self._pools, self._run = folder, programs, pools, run
        self.processes: dict[str, subprocess.Popen] = {}
        self._job_port, *self._pool_ports = (free_port() for _ in range(1 + len(pools)))

    def __enter__(self) -> Cluster:
        service = ["-m", "attr_extractor.records.job_service", f"--port={self._job_port}"]
        self.start("job service", service, self._run)
        for number in range(len(self._pools)):
            self.start_pool(number)
        return self

    def __exit__(self, *_error: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    @property
    def flags(self) -> list[str]:
        """The flags of a program that runs its tasks on this cluster."""
        pools = [f"{host}:{port}" for (_, host), port in zip(self._pools, self._pool_ports)]
        beam = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{self._job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config={','.join(pools)}",
            f"--direct_num_workers={len(self._pools)}",
        ]
        return ["--runner=beam", *(f"--beam={flag}" for flag in beam)]

    def start_pool(self, number: int) -> None:
        pool = ["-m", "apache_beam.runners.worker.worker_pool_main"]
        run, _ = self._pools[number]
        name = f"pool {number}"
        self.start(name, [*pool, f"--service_port={self._pool_ports[number]}"], run)

    def start(self, name: str, arguments: list[str], run: Run) -> subprocess.Popen:
        """Start Python as a process of its own group; its output goes to a file."""
        place = self.folder / name
        for folder in ("cwd", "home", "tmp"):
            (place / folder).mkdir(parents=True, exist_ok=True)
        settings = {k: v for k, v in os.environ.items() if k.startswith(STORE)}
        settings |= {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
        settings["PATH"] = f"{self._programs}:/usr/sbin:/usr/bin:/sbin:/bin"
        settings["PYTHONWARNINGS"] = "ignore"
        with open(place / "log", "ab") as log:
            self.processes[name] = run(
                [str(self._programs / "python"), *arguments],
                cwd=place / "cwd",
                env=settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[name]

    def wait(self) -> Cluster:
        """Wait until every process accepts connections on its host."""
        ports = [(self._run, self._job_port)]
        ports += [(run, port) for (run, _), port in zip(self._pools, self._pool_ports)]
        for run, port in ports:
            waiting = run([str(self._programs / "python"), "-c", CONNECT, str(port)])
            assert not waiting.wait(), f"port {port}, see the logs in {self.folder}"
        return self

    def kill(self, name: str) -> None:
        """Kill a process with all that it started; it may have ended."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(name, signal.SIGKILL)
        self.processes.pop(name).wait()

    def signal(self, name: str, number: int) -> None:
        os.killpg(self.processes[name].pid, number)
