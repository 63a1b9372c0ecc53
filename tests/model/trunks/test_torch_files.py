"""PyTorch's older format is read without PyTorch and without running code.

The standard library's pickler writes the files here in PyTorch's format. The files of the packages
are compared with PyTorch's results in test_efficientnet_lite.py.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
import types

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.model.trunks import torch_files
from attr_extractor.model.trunks.torch_files import read_state_dict


class Stored:
    """A tensor as PyTorch pickles it: the key of its storage, its offset, shape and strides."""

    def __init__(self, key: str, size: int, offset: int, shape: tuple, strides: tuple):
        self.key, self.size, self.layout = key, size, (offset, shape, strides)

    def __reduce__(self):
        function = sys.modules["torch._utils"]._rebuild_tensor_v2
        return function, (Storage(self), *self.layout, False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor: Stored):
        self.tensor = tensor


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = sys.modules["torch"].FloatStorage
            return ("storage", kind, obj.tensor.key, "cpu", obj.tensor.size, None)
        return None


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """Provide modules with the names in PyTorch's pickles."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    class FloatStorage:
        pass

    def _rebuild_tensor_v2():
        raise AssertionError("never called")

    FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def pickled(content: object) -> bytes:
    out = io.BytesIO()
    Pickler(out, protocol=2).dump(content)
    return out.getvalue()


def written(state: object, storages: dict[str, np.ndarray]) -> bytes:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [torch_files.MAGIC, torch_files.VERSION, facts, state, list(storages)]
    tail = [struct.pack("<q", len(array)) + array.tobytes() for array in storages.values()]
    return b"".join([*map(pickled, head), *tail])


def a_state():
    state = collections.OrderedDict(
        whole=Stored("a", 6, 0, (2, 3), (3, 1)),
        turned=Stored("a", 6, 0, (3, 2), (1, 3)),
        part=Stored("b", 4, 1, (3,), (1,)),
        scalar=Stored("b", 4, 2, (), ()),
    )
    state._metadata = {"version": 1}  # PyTorch's state dicts carry one
    return state, {"a": np.arange(6, dtype="<f4"), "b": np.float32([5, 6, 7, 8])}


def test_tensors_have_their_shapes_for_any_order_of_axes_in_the_storage(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(written(*a_state()))
    state = read_state_dict(path)
    assert list(state) == ["whole", "turned", "part", "scalar"]
    assert state["whole"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["part"].tolist() == [6, 7, 8]
    assert state["scalar"].shape == () and state["scalar"] == 7


class RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_file_that_would_run_a_command_is_rejected_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "it_ran"
    path.write_bytes(written(collections.OrderedDict(a=RunsACommand(trace)), {}))
    with pytest.raises(InputError, match=r"weights\.pth: not a PyTorch state dict.*system"):
        read_state_dict(path)
    assert not trace.exists()


def hostile(state: bytes) -> bytes:
    head = [torch_files.MAGIC, torch_files.VERSION, {}]
    return b"".join([*map(pickled, head), state, pickled([])])


HOSTILE = {  # a pickle in the state dict's place
    "sets an attribute of the constructor": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00whoseK\x01sb."
    ),
    "a memo of four billion entries": b"\x80\x02}r\xff\xff\xff\xff.",
    "a name that a pickle imports": b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    "another opcode that calls": b"\x80\x02(X\x01\x00\x00\x001ibuiltins\neval\n.",
    "a number of a gigabyte": b"\x80\x02\x8b\x00\x00\x00\x40.",
    "nested ten thousand times": b"\x80\x02" + b"(" * 10_000 + b"t" * 10_000 + b".",
    "no dict": b"\x80\x02K\x01.",
    "a dict of numbers": b"\x80\x02}X\x01\x00\x00\x00aK\x01s.",
}


@pytest.mark.parametrize("state", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_raises_one_line_of_limited_length(state, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(hostile(state))
    with pytest.raises(InputError, match="not a PyTorch state dict") as error:
        read_state_dict(path)
    assert len(str(error.value)) < 500


LAYOUTS = {
    "beyond its storage": (4, (3,), (1,)),
    "before its storage": (-1, (2,), (1,)),
    "backwards": (5, (3,), (-1,)),
    "larger than its storage by a stride of 0": (0, (1_000_000,), (0,)),
    "with a stride too few": (0, (2, 3), (3,)),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_tensor_outside_its_storage_is_rejected(layout, tmp_path):
    path = tmp_path / "weights.pth"
    state = collections.OrderedDict(a=Stored("a", 6, *layout))
    path.write_bytes(written(state, {"a": np.zeros(6, "<f4")}))
    with pytest.raises(InputError, match="not a PyTorch state dict: a tensor"):
        read_state_dict(path)


def test_the_newer_zip_format_and_a_missing_file_raise(tmp_path):
    np.savez(tmp_path / "new.pth.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="not a PyTorch state dict"):
        read_state_dict(tmp_path / "new.pth.npz")
    with pytest.raises(InputError, match="does not exist"):
        read_state_dict(tmp_path / "absent.pth")


def test_a_thousand_damaged_files_are_read_or_rejected(tmp_path):
    whole, path = written(*a_state()), tmp_path / "weights.pth"
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), generator.integers(1, 4)):
            damaged[place] = generator.integers(256)
        cut = generator.integers(1, len(whole) + 1) if generator.random() < 0.2 else len(whole)
        path.write_bytes(bytes(damaged[:cut]))
        try:
            read_state_dict(path)
        except InputError as error:
            assert len(str(error)) < 500
            refused += 1
    assert 200 < refused < 1000  # some bytes are only numbers of a tensor
