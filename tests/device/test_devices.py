"""The contract of a backend: complete classes, bytes in and out, programs with the same outcome on cpu and python."""

import struct

import numpy as np
import pytest

from flambeau.device import threads
from flambeau.device.base import Device, Frame, Program, pack_values
from flambeau.device.cpu import CPU
from flambeau.device.null import Null, NullProgram
from flambeau.device.python import Python, PythonProgram
from flambeau.device.runner import NativeProgram
from flambeau.loop.ir import Buf, Check, For, Int, Kernel, Load, Num, Store, Var, cast, i64, op

HOST = [CPU(), Python(), Python(parts=3), Null(("x86-64-v3",))]
RUN = HOST[:3]


def named(device):
    return f"{device.name}-{getattr(device, 'parts', 0)}"


@pytest.mark.parametrize("kind", [CPU, Python, Null, NativeProgram, PythonProgram, NullProgram])
def test_nothing_of_a_backend_is_missing(kind):
    assert not kind.__abstractmethods__


def test_the_contract_is_small():
    public = [name for name in vars(Device) if not name.startswith("_") and callable(getattr(Device, name))]
    assert len(public) <= 24
    assert set(public) - Device.__abstractmethods__ == {"launch", "recall", "plans", "expect", "ahead"}
    with pytest.raises(TypeError, match="abstract"):
        Device()
    with pytest.raises(TypeError, match="abstract"):
        Program([], 1, ())


@pytest.mark.parametrize("device", HOST, ids=named)
def test_bytes(device):
    block = device.alloc(40)
    source = np.arange(10, dtype=np.int32)
    device.copy_in(block.ptr, source)
    device.copy(block.ptr + 8, block.ptr, 20)
    found = np.empty((2, 5), np.int32)
    device.copy_out(found, block.ptr)
    assert found.ravel().tolist() == [0, 1, 0, 1, 2, 3, 4, 7, 8, 9]
    device.fill(block.ptr, 8, 255)
    assert np.frombuffer(device.view(block.ptr, 12), np.int32).tolist() == [-1, -1, 0]
    with pytest.raises((TypeError, BufferError, ValueError)):
        device.copy_in(block.ptr, np.zeros((4, 4))[:, 1])
    ptr = device.alloc_ptr(100)
    device.free_ptr(ptr, 100)
    assert device.memory_stats()["mapped"] > 0
    device.empty_cache()
    device.reset_peak()
    device.synchronize()
    device.set_num_threads(device.get_num_threads())
    assert device.properties()["name"] == device.name
    assert device.target().name


def scaled():
    """y[i] = x[i] * a for the part's share of n elements; the epilogue adds 1 to y[0]; x[i] = 13 is an error."""
    tid, nt, n, i = (Var("i64", name) for name in ("tid", "nt", "n", "i"))
    x = Load("f32", "x", i)
    body = [
        For(
            "i",
            op("idiv", op("mul", n, tid), nt),
            op("idiv", op("mul", n, op("add", tid, i64(1))), nt),
            i64(1),
            [
                Check(op("ne", x, cast("f32", i64(13))), 5, cast("i64", x), i),
                Store("y", i, op("mul", x, cast("f32", Var("f64", "a")))),
            ],
        )
    ]
    epilogue = [Store("y", i64(0), op("add", Load("f32", "y", i64(0)), cast("f32", i64(1))))]
    params = [Buf("x", "f32"), Buf("y", "f32", "rw"), Int("n"), Num("a", "f64")]
    return Kernel("scaled", params, body, epilogue)


@pytest.fixture
def two_threads():
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("device", RUN, ids=named)
def test_a_program(device, parts, two_threads):
    (handle,) = device.load([scaled()])
    x, y = np.arange(10, dtype=np.float32), np.zeros(10, np.float32)
    device.launch(handle, [x.ctypes.data, y.ctypes.data, 10, 0.5], parts, epilogue=True)
    assert y.tolist() == [1.0, *(0.5 * k for k in range(1, 10))]
    program = device.program([(handle, [1, 2, 3, 4], parts, True), (handle, [2, 2, 3, 4], 1, True)], 5)
    frame = program.take()
    pack_values(frame, [x.ctypes.data, y.ctypes.data, 10, 2.0])
    assert program.run(frame) == -1
    assert y.tolist() == [3.0, *(4.0 * k for k in range(1, 10))]
    x[7] = 13
    assert program.run(frame) == 0
    assert frame.error == (5, 13, 7)
    with pytest.raises(RuntimeError, match="code 5, value 13, position 7"):
        device.launch(handle, [x.ctypes.data, y.ctypes.data, 10, 1.0], parts)


@pytest.mark.parametrize("device", RUN, ids=named)
def test_derived_slots(device):
    (handle,) = device.load([scaled()])
    data = np.arange(20, dtype=np.float32)
    # slots: 1 base, 2 n, 3 a, 4 an index; 5 = base + 8 bytes + 4 * index, 6 = slot 5 + 40
    derived = [(5, 1, 8, 4, 4), (6, 5, 40, 0, 0)]
    program = device.program([(handle, [5, 6, 2, 3], 1, False)], 7, derived)
    frame = program.take()
    pack_values(frame, [data.ctypes.data, 2, 10.0, 1])
    assert program.run(frame) == -1
    assert data[13:15].tolist() == [30.0, 40.0]
    struct.pack_into("=q", frame.table, 32, 3)
    assert program.run(frame) == -1
    assert data[15:17].tolist() == [50.0, 60.0]


def test_null_compiles_and_runs_nothing():
    device = Null(("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"))
    (sizes,) = device.load([scaled()])
    assert len(sizes) == 4
    assert min(sizes) > 300
    x, y = np.ones(4, np.float32), np.zeros(4, np.float32)
    device.launch(sizes, [x.ctypes.data, y.ctypes.data, 4, 2.0])
    assert not y.any()


def test_a_frame_without_a_program():
    frame = Frame(1, 0, 0, 0)
    assert frame.error == (0, 0, 0)
