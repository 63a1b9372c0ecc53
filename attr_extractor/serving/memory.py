"""Memory that nothing uses any more, given back to the system.

glibc keeps freed blocks for later, in a heap of its own for every few threads. Loading a version
frees far more than the version holds in the end.
"""

from __future__ import annotations

import ctypes
import gc
import sys


def collect() -> None:
    """Frees what is reachable from cycles alone, graphs among it, and trims."""
    gc.collect()
    trim()


def trim() -> None:
    """Gives all heaps' free pages back; does nothing where the C library is not glibc."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)  # what this process runs on
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(ctypes.c_size_t(0))
