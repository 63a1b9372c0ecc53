"""Read the tensors of a PyTorch state dict without PyTorch.

A `.pth` file in PyTorch's older format (`torch.save` before 1.6) consists of five pickles and the
raw bytes of the storages. The pickles are a magic number, the format version, properties of the
machine that wrote the file, the state dict, and the order of the storages. A pickle is a program,
so an untrusted one can run any code. Here the opcodes are checked first, and the only names that
resolve are an ordered dict, PyTorch's tensor constructor and its storage types; everything else is
rejected.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from attr_extractor.errors import InputError, require_file

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
DTYPES = {  # by the name of PyTorch's storage class
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
# the opcodes of a state dict of tensors; they call only what `find_class` returns
OPCODES = set(
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE "
    "BININT BININT1 BININT2 LONG1 BINUNICODE".split()
)


class Storage(NamedTuple):
    """Storage of a tensor's numbers; their bytes follow the pickles."""

    key: str
    dtype: str
    size: int  # numbers


class Tensor(NamedTuple):
    """A tensor of the state dict before its bytes are read."""

    storage: Storage
    offset: int  # numbers from the storage's start
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict in PyTorch's older format.

    Args:
      path: a local `.pth` file.

    Returns:
      the arrays by name, in the file's order.

    Raises:
      InputError: if the file is missing or damaged, or contains anything but tensors.
    """
    content = require_file(path, "the weights file").read_bytes()
    file = io.BytesIO(content)
    try:
        if _load(file) != MAGIC or _load(file) != VERSION:
            raise pickle.UnpicklingError("it is not in the format of PyTorch before 1.6")
        _load(file)  # the machine's properties: every file of this format in use is little-endian
        tensors = _load(file)
        storages = _read_storages(file, _load(file), tensors)
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    # pickle and NumPy raise any of these for damaged bytes; the checks below raise the first
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError),
        *(AttributeError, OverflowError, MemoryError, RecursionError),
    ) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(f"{path}: not a PyTorch state dict: {reason}") from error


class _TensorsOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Constructor()
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it uses {module}.{name}; only tensors are allowed")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, size, view = pid
        if kind != "storage" or dtype not in DTYPES.values() or view is not None:
            raise pickle.UnpicklingError("a storage of unknown type")
        return Storage(str(key), dtype, int(size))


class _Constructor:
    """Replacement for PyTorch's function, without attributes that the opcode BUILD could set."""

    __slots__ = ()

    def __call__(
        self, storage: Storage, offset: int, shape: Any, strides: Any, *_options: Any
    ) -> Tensor:
        return Tensor(storage, offset, tuple(shape), tuple(strides))


def _load(file: BinaryIO) -> Any:
    """Load one pickle after a check that its opcodes are harmless."""
    start = file.tell()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"the opcode {opcode.name} is not allowed")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
            raise pickle.UnpicklingError("its memo is out of order")  # would fill the memory
    file.seek(start)
    return _TensorsOnly(file).load()


def _read_storages(file: BinaryIO, keys: list[str], tensors: Any) -> dict[str, np.ndarray]:
    """Read the storages' numbers by key; each storage is a count in eight bytes, then numbers."""
    declared = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise pickle.UnpicklingError("it is not a dict of tensors by name")
        declared[tensor.storage.key] = tensor.storage
    storages = {}
    for key in keys:
        storage = declared[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise pickle.UnpicklingError("the size of a storage differs from its declared size")
        content = file.read(storage.size * np.dtype(storage.dtype).itemsize)
        storages[key] = np.frombuffer(content, storage.dtype, storage.size)
    return storages


def _array(tensor: Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """Return a tensor's numbers in its shape; the storage may have its axes in any order."""
    numbers, (_, offset, shape, strides) = storages[tensor.storage.key], tensor
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise pickle.UnpicklingError("a tensor with impossible strides")
    if math.prod(shape) > len(numbers):
        raise pickle.UnpicklingError("a tensor larger than its storage")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides))
    if math.prod(shape) and last >= len(numbers):
        raise pickle.UnpicklingError("a tensor that exceeds its storage")
    steps = [stride * numbers.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
    return view.copy()
