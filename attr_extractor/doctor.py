"""What this machine has and lacks: packages, accelerators, disk, memory and CPU instructions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from attr_extractor import __version__
from attr_extractor.processor import cpu_info

PACKAGE = "attr-extractor"
USER_EXTRAS = (
    "pretrained",
    "hub",
    "serving",
    "review",
    "search",
    "convert",
    "beam",
    "mlflow",
    "wandb",
    "bench",
)
INSTRUCTIONS = {
    "avx2": "TensorFlow's kernels",
    "avx512f": "wider float32 kernels",
    "avx512_bf16": "training in bfloat16",
    "amx_bf16": "training in bfloat16, faster",
}


class Check(NamedTuple):
    """One line of the report."""

    name: str
    found: str
    is_broken: bool = False  # the package does not work without it


def examine() -> Iterator[Check]:
    """Yield the result of each check."""
    yield Check("attr-extractor", f"{__version__}, Python {platform.python_version()}")
    yield from _packages()
    yield from _tensorflow()
    yield from _processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check("memory", f"{memory / 2**30:.1f} GiB")
    for folder in dict.fromkeys((os.getcwd(), tempfile.gettempdir())):
        yield Check("free disk", f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB at {folder}")


def problem_of(requirement: Requirement) -> str:
    """Return what is wrong with the installed version of a requirement, or an empty string."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is installed, {requirement.specifier} is required"


def _requirements(extra: str = "") -> list[Requirement]:
    """Return the requirements of the package that apply here, or those that an extra adds."""
    every = [Requirement(line) for line in importlib.metadata.requires(PACKAGE) or ()]
    of_package = [r for r in every if r.marker is None or r.marker.evaluate({"extra": ""})]
    if not extra:
        return of_package
    return [
        r for r in every if r not in of_package and r.marker and r.marker.evaluate({"extra": extra})
    ]


def _packages() -> Iterator[Check]:
    not_installed = problem_of(Requirement(PACKAGE))
    if not_installed:  # its requirements are part of its installed metadata
        yield Check("packages", f"{not_installed}: pip install . in the checkout", True)
        return
    problems = list(filter(None, map(problem_of, _requirements())))
    installed = ("tensorflow", "keras", "numpy", "pandas", "pillow")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in installed
        if problem_of(Requirement(name)) == ""
    )
    yield Check("packages", "; ".join(problems) or versions, bool(problems))
    for extra in USER_EXTRAS:
        problems = list(filter(None, map(problem_of, _requirements(extra))))
        advice = f"{'; '.join(problems)}: pip install '{PACKAGE}[{extra}]'"
        yield Check(f"extra {extra}", advice if problems else "installed")


def _tensorflow() -> Iterator[Check]:
    """Import TensorFlow in a process of its own: a broken build may end the process."""
    script = (
        "import tensorflow as tf; "
        "print(tf.test.is_built_with_cuda(), len(tf.config.list_physical_devices('GPU')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        yield Check("TensorFlow", f"cannot be imported: {last[:300]}", True)
        return
    built_with_cuda, gpus = result.stdout.split()[-2:]
    yield Check("TensorFlow", "can be imported")
    if gpus != "0":
        yield Check("GPU", f"{gpus} found")
    elif not Path("/proc/driver/nvidia/version").is_file():
        yield Check("GPU", "none: this machine has no NVIDIA driver")
    elif built_with_cuda != "True":
        yield Check("GPU", "none: this TensorFlow is built without CUDA")
    else:
        yield Check("GPU", f"none: CUDA's libraries are missing: pip install '{PACKAGE}[gpu]'")


def _processor() -> Iterator[Check]:
    yield Check("CPU", f"{os.cpu_count()} cores, {platform.machine()}")
    flags = cpu_info("flags").split()
    if flags:
        for name, use in INSTRUCTIONS.items():
            yield Check(f"  {name}", f"{'yes' if name in flags else 'no'} ({use})")
