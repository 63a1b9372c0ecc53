"""Write state dicts as `torch.save` and safetensors do, without PyTorch."""

from __future__ import annotations

import collections
import contextlib
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from attr_extractor.model.trunks import torch_files

KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}
TYPES = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64"}  # of safetensors


class Stored:
    """A tensor as PyTorch pickles it: the key of its storage, its offset, shape and strides."""

    def __init__(
        self, key: str, size: int, offset: int, shape: tuple, strides: tuple, kind: str = "f4"
    ):
        self.key, self.size, self.layout, self.kind = key, size, (offset, shape, strides), kind

    def __reduce__(self):
        function = sys.modules["torch._utils"]._rebuild_tensor_v2
        return function, (_Storage(self), *self.layout, False, collections.OrderedDict())


class _Storage:
    def __init__(self, tensor: Stored):
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    view: tuple = (None,)  # only the older format has it

    def persistent_id(self, obj):
        if isinstance(obj, _Storage):
            kind = getattr(sys.modules["torch"], KINDS[obj.tensor.kind])
            return ("storage", kind, obj.tensor.key, "cpu", obj.tensor.size, *self.view)
        return None


class _NewerPickler(_Pickler):
    view = ()


@contextlib.contextmanager
def torch_names() -> Iterator[None]:
    """Provide modules with the names in PyTorch's pickles."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in KINDS.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2():
        raise AssertionError("never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield


def pickled(content: object, kind: type[_Pickler] = _Pickler) -> bytes:
    out = io.BytesIO()
    with torch_names():
        kind(out, protocol=2).dump(content)
    return out.getvalue()


def older(state: object, storages: dict[str, np.ndarray]) -> bytes:
    """Return a file in the format before PyTorch 1.6."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [torch_files.MAGIC, torch_files.VERSION, facts, state, list(storages)]
    tail = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join([*map(pickled, head), *tail])


def zipped(state: object, storages: dict[str, np.ndarray], compression: int = 0) -> bytes:
    """Return a file in the format since PyTorch 1.6."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled(state, _NewerPickler))
        archive.writestr("weights/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"weights/data/{key}", array.tobytes())
        archive.writestr("weights/version", "3\n")
    return out.getvalue()


def of_arrays(arrays: dict[str, np.ndarray]) -> tuple[collections.OrderedDict, dict]:
    """Return a state dict and its storages, one per array."""
    state: collections.OrderedDict = collections.OrderedDict()
    for i, (name, array) in enumerate(arrays.items()):
        strides = tuple(side // array.itemsize for side in array.strides)
        state[name] = Stored(str(i), array.size, 0, array.shape, strides, array.dtype.str[1:])
    return state, {str(i): array for i, array in enumerate(arrays.values())}


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a file of safetensors: the header's length, the header in JSON, the numbers."""
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": TYPES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values())


def write(arrays: dict[str, np.ndarray], path: Path, form: str) -> str:
    """Write `older`, `zipped` or `safetensors`; return the path."""
    content = {
        "older": lambda: older(*of_arrays(arrays)),
        "zipped": lambda: zipped(*of_arrays(arrays)),
        "safetensors": lambda: safetensors(arrays),
    }[form]()
    path.write_bytes(content)
    return str(path)
