"""Tensors as NumPy arrays and arrays as tensors by builtins: what the definitions in Python make, and Python is asked
only where they say so."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.device import cpython
from flambeau.ops import builtins
from flambeau.ops.builtins import arrays
from flambeau.stream import host

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="there are no builtins")


@pytest.fixture(autouse=True)
def installed() -> None:
    builtins.install()
    torch.ones(2).numpy()
    assert len(arrays.API) > arrays.DTYPES


TENSORS = {
    "vector": lambda: torch.arange(5.0),
    "number": lambda: torch.tensor(7),
    "matrix": lambda: torch.arange(12).reshape(3, 4),
    "turned": lambda: torch.arange(12, dtype=torch.int16).reshape(3, 4).t(),
    "part": lambda: torch.arange(24.0, dtype=torch.float64).reshape(4, 6)[1:, ::2],
    "expanded": lambda: torch.tensor([1, 2], dtype=torch.uint8).reshape(2, 1).expand(2, 3),
    "bool": lambda: torch.tensor([True, False]),
    "recorded": lambda: torch.ones(3) * 2 + 1,
    "int8": lambda: torch.arange(6, dtype=torch.int8).reshape(1, 6, 1),
    "int32": lambda: torch.arange(6, dtype=torch.int32),
}


@pytest.mark.parametrize("name", TENSORS)
def test_an_array_is_that_of_python(name: str) -> None:
    x = TENSORS[name]()
    made = host.ARRAYS["exported"](x)
    want = host.as_numpy(x, exported=True)
    assert made.dtype is want.dtype and made.shape == want.shape and made.strides == want.strides
    assert np.array_equal(made, want) and made.ctypes.data == want.ctypes.data
    assert all(made.flags[flag] == want.flags[flag] for flag in ("C", "F", "OWNDATA", "WRITEABLE", "ALIGNED"))
    made[...] = 1
    assert x.tolist() == np.ones_like(want).tolist()


def test_an_array_keeps_the_storage_and_is_counted() -> None:
    x = torch.arange(5.0)
    st, a = x._st, x.numpy()
    assert type(a.base) is host.Exported and st.info.exported == 1
    b = x[1:].numpy()
    assert st.info.exported == 2
    y = x + 1  # what others may write is read when it is recorded
    b[0] = 50
    assert y.tolist() == [1, 2, 3, 4, 5]
    del b
    assert st.info.exported == 1
    gone = weakref.ref(st)
    del x, y, st
    assert gone() is not None and a.tolist() == [0, 50, 2, 3, 4]
    del a
    gc.collect()
    assert gone() is None


def test_what_is_unusual_is_left_to_python() -> None:
    asked = host.ARRAYS["exported"]
    kept = torch.ones(2)
    kept.readonly()
    unusual = [torch.ones(2, requires_grad=True), torch.ones(0), torch.ones(2).half(), kept]
    unusual += [torch.ones(2, dtype=torch.complex64), torch.ones([1] * 33), torch.ones(2, device="meta")]
    assert all(asked(x) is None for x in unusual)
    assert not kept.numpy().flags.writeable
    with pytest.raises(RuntimeError, match="requires grad"):
        unusual[0].numpy()
    assert unusual[0].numpy(force=True).tolist() == [1, 1]


ARRAYS = {
    "vector": np.arange(5.0),
    "number": np.array(3, np.int32),
    "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "bool": np.array([[True], [False]]),
    "uint8": np.arange(6, dtype=np.uint8),
    "slice": np.arange(24, dtype=np.int8).reshape(4, 6)[1:3],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_tensor_is_that_of_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a = ARRAYS[name].copy() if name != "slice" else ARRAYS[name]
    made: Any = host.ARRAYS["foreign"](a, a, False)
    monkeypatch.setitem(host.ARRAYS, "foreign", host.no_builtin)
    want = torch.from_numpy(a)
    for x, y in ((made, want), (made._st, want._st), (made._st.info, want._st.info)):
        for slot in type(x).__slots__:
            if slot not in ("_st", "info", "__weakref__", "__dict__"):
                assert getattr(x, slot) == getattr(y, slot) if slot in ("ptr", "nbytes", "sid") else True
                if slot in (
                    "block",
                    "owner",
                    "_meta",
                    "pend",
                    "home",
                    "readonly",
                    "resizable",
                    "poison",
                    "_ver",
                ):
                    assert getattr(x, slot) is getattr(y, slot), slot
    made.zero_()
    assert not a.any() and made.tolist() == a.tolist()


def test_an_array_that_nobody_else_has_is_taken_over() -> None:
    taken = torch.from_numpy(np.ones(3))
    assert taken._st.info is None
    a = np.ones(3)
    assert torch.from_numpy(a)._st.info.owner is a
    watched = np.ones(3)
    ref = weakref.ref(watched)
    assert host.ARRAYS["foreign"](watched, watched, True)._st.info.owner is watched and ref() is watched
    b = np.ones((2, 3))
    row = b[1]
    assert host.ARRAYS["foreign"](row, row, True)._st.info.owner is row


@pytest.mark.parametrize("name", ARRAYS)
def test_a_tensor_may_have_a_copy(name: str) -> None:
    a = ARRAYS[name]
    kept = a.copy()
    made: Any = host.ARRAYS["foreign"](a, None, None)
    assert (
        made._st.info is None and made._st.ptr != a.ctypes.data and type(made._st.block).__name__ == "Block"
    )
    assert made.tolist() == a.tolist() and tuple(made.shape) == a.shape
    made.zero_()
    assert np.array_equal(a, kept) and not made.any()
    assert made.dtype is torch.tensor(a).dtype


def test_copies_of_every_number_of_bytes() -> None:
    for n in range(1, 40):
        a = np.arange(n + 1, dtype=np.uint8)[1:]  # where no word begins
        assert torch.tensor(a).tolist() == list(range(1, n + 1))
    large = np.arange(1 << 17, dtype=np.uint8)
    assert host.ARRAYS["foreign"](large, None, None) is None
    assert torch.tensor(large).numpy().tobytes() == large.tobytes()
    assert torch.tensor(np.ones(2), dtype=torch.float32).dtype is torch.float32


def test_unusual_arrays_are_left_to_python() -> None:
    fixed = np.ones(3)
    fixed.setflags(write=False)
    shifted = np.frombuffer(bytearray(17), np.uint8)[1:].view(np.float64)
    unusual = [fixed, np.ones((2, 3)).T, np.ones(0), np.ones(2, np.float16), np.ones(2, ">f4"), shifted]
    unusual += [np.ma.ones(3), [1.0]]
    assert all(host.ARRAYS["foreign"](a, a, False) is None for a in unusual)
    assert torch.from_numpy(fixed).tolist() == [1, 1, 1]


def test_references_do_not_drift() -> None:
    a, x, nothing, empty = np.ones((2, 3)), torch.ones(2, 3) + 1, np.ones(0), torch.ones(0)
    watched = [a, x, x._st, x._meta, np.ndarray, np.dtype("float32"), np.dtype("float64"), None, False, True]

    def work() -> None:
        for _ in range(200):
            x.numpy(), torch.from_numpy(a), host.ARRAYS["foreign"](a, a, True)
            torch.tensor(a), host.ARRAYS["foreign"](nothing, None, None)
            host.ARRAYS["foreign"](nothing, None, False), host.ARRAYS["exported"](empty)

    work()
    before = [sys.getrefcount(y) for y in watched]
    work()
    after = [sys.getrefcount(y) for y in watched]
    assert all(abs(m - n) < 20 for m, n in zip(before, after)), list(zip(before, after))


def test_values_are_read_where_others_see_the_memory() -> None:
    """By the builtins, too: what is exported, and what was taken over from NumPy."""
    a = np.arange(3.0)
    x, y = torch.from_numpy(a), torch.arange(3.0)
    b = y.numpy()
    a[1], b[1] = 7, 8
    for t, value in ((x, 7), (y, 8)):
        assert t.tolist() == [0, value, 2] and t[1].item() == value and float(t[1:2]) == value


def test_a_captured_call_does_not_take_arrays_unseen() -> None:
    """What a replay would not see again ends the capture."""
    a = np.ones(3)
    step = torch.compile(lambda x: x + torch.from_numpy(a))
    x = torch.ones(3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="a NumPy array is read"):
        for k in range(4):
            a[:] = k
            assert step(x).tolist() == [1 + k] * 3
