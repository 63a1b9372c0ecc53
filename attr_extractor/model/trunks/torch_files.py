"""Read the tensors of a PyTorch state dict without PyTorch.

A `.pth` file in PyTorch's older format (`torch.save` before 1.6) consists of five pickles and the
raw bytes of the storages. The pickles are a magic number, the format version, properties of the
machine that wrote the file, the state dict, and the order of the storages. In the newer format the
file is a zip archive: `data.pkl` is the state dict, `data/KEY` is a storage.

A pickle is a program, so an untrusted one can run any code. Here the opcodes are checked first, and
the only names that resolve are an ordered dict, PyTorch's constructors of tensors and its storage
types; everything else is rejected.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
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
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_STATE = "/data.pkl"  # member of the archive, in a folder
# keys of a checkpoint under which training scripts store the state dict
WRAPPERS = ("state_dict", "model_state_dict", "model")
# the opcodes of a state dict of tensors; they call only what `find_class` returns
OPCODES = set(
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET "
    "EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE "
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE".split()
)


class Storage(NamedTuple):
    """Storage of a tensor's numbers, whose bytes are outside the pickle."""

    key: str
    dtype: str
    size: int  # numbers

    @property
    def num_bytes(self) -> int:
        """Length in bytes."""
        return self.size * np.dtype(self.dtype).itemsize


class Tensor(NamedTuple):
    """A tensor of the state dict before its bytes are read."""

    storage: Storage
    offset: int  # numbers from the storage's start
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict in either format of PyTorch, or a checkpoint that contains one.

    Args:
      path: a local `.pth` or `.pt` file.

    Returns:
      the arrays by name, in the file's order; they may share memory.

    Raises:
      InputError: if the file is missing or damaged, or contains objects other than tensors and
        plain values.
    """
    path = require_file(path, "the weights file")
    try:
        with open(path, "rb") as file:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            tensors, storages = _read_zip(file) if is_zip else _read_older(file)
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    # pickle, zipfile and NumPy raise any of these for damaged bytes; the checks here the first
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError),
        *(AttributeError, OverflowError, MemoryError, RecursionError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, OSError),
    ) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(f"{path}: not a PyTorch state dict: {reason}") from error


def is_state_dict(file: zipfile.ZipFile) -> bool:
    """Return whether a zip archive was written by `torch.save`."""
    return any(name.endswith(_STATE) for name in file.namelist())


def _read_older(file: BinaryIO) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Return the tensors by name, and the numbers of their storages by key."""
    content = io.BytesIO(file.read())
    declared: dict[str, Storage] = {}
    if _load(content, declared) != MAGIC or _load(content, declared) != VERSION:
        raise pickle.UnpicklingError("it is in neither format of torch.save")
    _load(content, declared)  # properties of the machine: all files in use are little-endian
    tensors = _tensors(_load(content, declared))
    storages = {}
    for key in _load(content, declared):
        storage = declared[key]
        if int.from_bytes(content.read(8), "little") != storage.size:
            raise pickle.UnpicklingError("the size of a storage differs from its declared size")
        storages[key] = _numbers(content.read(storage.num_bytes), storage)
    return tensors, storages


def _read_zip(file: BinaryIO) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Return the tensors by name, and the numbers of their storages by key."""
    length = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if not is_state_dict(archive):
            raise pickle.UnpicklingError("the zip archive has no data.pkl")
        root = next(name for name in names if name.endswith(_STATE)).removesuffix(_STATE)
        if f"{root}/byteorder" in names and _stored(archive, f"{root}/byteorder") != b"little":
            raise pickle.UnpicklingError("it was written on a big-endian machine")
        tensors = _tensors(_load(io.BytesIO(_stored(archive, root + _STATE)), {}))
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        if sum(storage.num_bytes for storage in storages.values()) > length:
            raise pickle.UnpicklingError("its storages are larger than the file")
        return tensors, {
            key: _numbers(_stored(archive, f"{root}/data/{key}"), storage)
            for key, storage in storages.items()
        }


def _numbers(content: bytes, storage: Storage) -> np.ndarray:
    if len(content) != storage.num_bytes:
        raise pickle.UnpicklingError("a storage is shorter or longer than declared: file cut off?")
    return np.frombuffer(content, storage.dtype)


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member's bytes; `torch.save` never compresses them."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError(f"{name} is compressed")
    return archive.read(name)


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors by name, of a state dict or of a checkpoint around one."""
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("it is not a dict of tensors by name")
    inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
    content = inner[0] if inner else content
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise pickle.UnpicklingError("it is not a dict of tensors by name")
    return content


class _TensorsOnly(pickle.Unpickler):
    def __init__(self, file: BinaryIO, declared: dict[str, Storage]):
        super().__init__(file)
        self._declared = declared

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Constructor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _Parameter()
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it uses {module}.{name}; only tensors are allowed")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, size, *view = pid  # the older format has a view, always None
        if kind != "storage" or dtype not in DTYPES.values() or view not in ([], [None]):
            raise pickle.UnpicklingError("a storage of unknown type")
        return self._declared.setdefault(str(key), Storage(str(key), dtype, int(size)))


class _Constructor:
    """Replacement for PyTorch's function, without attributes that the opcode BUILD could set."""

    __slots__ = ()

    def __call__(
        self, storage: Storage, offset: int, shape: Any, strides: Any, *_options: Any
    ) -> Tensor:
        return Tensor(storage, offset, tuple(shape), tuple(strides))


class _Parameter:
    """Replacement for PyTorch's constructor of a trained tensor."""

    __slots__ = ()

    def __call__(self, tensor: Tensor, *_options: Any) -> Tensor:
        return tensor


def _load(file: BinaryIO, declared: dict[str, Storage]) -> Any:
    """Load one pickle after a check that its opcodes are harmless; `declared` gets its storages."""
    start = file.tell()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"the opcode {opcode.name} is not allowed")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
            raise pickle.UnpicklingError("its memo is out of order")  # would fill the memory
    file.seek(start)
    return _TensorsOnly(file, declared).load()


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
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
