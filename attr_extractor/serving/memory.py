"""Return unused memory to the operating system.

glibc keeps freed blocks for reuse, in arenas shared by a few threads each. Loading a version
frees far more memory than the loaded version occupies.
"""

from __future__ import annotations

import ctypes
import gc
import sys


def collect() -> None:
    """Free unreachable reference cycles, including graphs, and trim."""
    gc.collect()
    trim()


def trim() -> None:
    """Return the free pages of all heaps; do nothing if the C library is not glibc."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)  # the C library of this process
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(ctypes.c_size_t(0))
