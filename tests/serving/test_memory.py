"""Claims about trimming: free pages between blocks in use go back, blocks in use stay."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# every 64th of 64 MiB of small blocks stays in use, so that the heap cannot shrink from its end
_PROGRAM = """
import ctypes
from pathlib import Path
from attr_extractor.serving import memory

def resident_mib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
blocks = [library.malloc(ctypes.c_size_t(16_384)) for _ in range(4_096)]
for block in blocks:
    ctypes.memset(block, 7, 16_384)
for i, block in enumerate(blocks):
    if i % 64:
        library.free(ctypes.c_void_p(block))
held = resident_mib()
memory.trim()
kept = ctypes.string_at(blocks[64], 16_384) == bytes([7]) * 16_384
print(held - resident_mib(), kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_free_pages_between_blocks_in_use_go_back():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT
    )
    given_back, kept = done.stdout.split()
    assert 50 < float(given_back) < 70 and kept == "True"
