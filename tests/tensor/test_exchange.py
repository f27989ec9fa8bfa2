"""Values out of tensors and memory into them: Python numbers, NumPy, DLPack, pickling, copies, old constructors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import flambeau as torch


def grid():  # type: ignore[no-untyped-def]
    return torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_python_numbers() -> None:
    t = grid()
    assert (
        torch.tensor(2.5).item() == 2.5 and t.tolist() == [[1, 2], [3, 4]] and torch.tensor(3).tolist() == 3
    )
    assert [1, 2, 3][torch.tensor(1)] == 2 and list(range(torch.tensor(3))) == [0, 1, 2]
    assert int(torch.tensor(2.7)) == 2 and float(torch.tensor(2)) == 2.0 and complex(torch.tensor(2.0)) == 2
    assert len(t) == 2 and [x.tolist() for x in t] == t.tolist() and 2.0 in t and 9 not in t
    with pytest.raises(TypeError, match="integer tensors of a single element"):
        [1, 2][torch.tensor(1.0)]
    with pytest.raises(RuntimeError, match="only supports Tensor or scalar"):
        "a" in t  # noqa: B015
    with pytest.raises(TypeError, match="does not support deleting"):
        del t[0]


def test_numpy_functions_give_tensors() -> None:
    t = grid()
    assert type(np.sin(t)) is torch.Tensor and type(t + np.ones((2, 2), np.float32)) is torch.Tensor
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    assert (np.float32(2) * t).tolist() == [[2, 4], [6, 8]]


def test_dlpack_shares_memory() -> None:
    t = grid()
    a = np.from_dlpack(t)
    t.add_(1)
    assert a.tolist() == [[2, 3], [4, 5]] and t.__dlpack_device__() == (1, 0)
    source = np.zeros(3)
    back = torch.from_dlpack(source)
    back.add_(5)
    assert source.tolist() == [5] * 3 and back.dtype is torch.float64
    assert torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(t)).tolist() == t.tolist()
    with pytest.raises(BufferError):
        torch.ones(2, requires_grad=True).__dlpack__()


def test_pickling() -> None:
    t = grid()
    for x in (t, t[:, 1], t.bfloat16(), t > 2, torch.nn.Parameter(t), torch.ones(2, requires_grad=True)):
        y = pickle.loads(pickle.dumps(x))
        assert type(y) is type(x) and y.tolist() == x.tolist() and y.dtype is x.dtype
        assert y.requires_grad == x.requires_grad
    for x in (torch.float32, t.shape, t.device):
        assert pickle.loads(pickle.dumps(x)) == x
    layer = torch.nn.Linear(2, 2)
    assert pickle.loads(pickle.dumps(layer)).weight.tolist() == layer.weight.tolist()


def test_copies() -> None:
    t = grid()
    a, b = copy.deepcopy([t, t[0]])
    a.zero_()
    assert b.tolist() == [0, 0] and t.tolist() == [[1, 2], [3, 4]]
    x, y = copy.deepcopy([t, t])
    assert x is y
    assert copy.copy(t).data_ptr() == t.data_ptr()
    layer = torch.nn.Linear(2, 2)
    other = copy.deepcopy(layer)
    assert type(other.weight) is torch.nn.Parameter and other.weight.data_ptr() != layer.weight.data_ptr()
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(torch.ones(2, requires_grad=True) * 2)


def test_old_constructors() -> None:
    assert torch.Tensor(2, 3).shape == (2, 3) and torch.Tensor([1, 2]).tolist() == [1, 2]
    assert torch.Tensor().shape == (0,) and torch.LongTensor([1]).dtype is torch.int64
    t = grid()
    assert isinstance(t, torch.FloatTensor) and not isinstance(t, torch.LongTensor)
    assert t.type() == "torch.FloatTensor" and t.new_zeros(2).dtype is torch.float32
    assert t.layout is torch.strided and len({t, t, t.clone()}) == 2


def test_elementwise_python_functions() -> None:
    assert torch.ones(2).apply_(lambda v: v + 1).tolist() == [2, 2]
    assert torch.ones(2).map_(torch.tensor([3.0, 4.0]), lambda a, b: a * b).tolist() == [3, 4]


def test_public_predicates() -> None:
    t = grid()
    assert (
        torch.result_type(t, 1) is torch.float32
        and torch.result_type(torch.tensor([1]), 1.5) is torch.float32
    )
    assert torch.result_type(torch.tensor([1]), torch.tensor(1.5, dtype=torch.float64)) is torch.float64
    assert not torch.can_cast(torch.float32, torch.int32) and torch.can_cast(torch.int64, torch.int8)
    assert torch.is_nonzero(torch.tensor(1)) and torch.detach(t).tolist() == t.tolist()


def test_faces() -> None:
    torch.testing.assert_close(torch.ones(2), torch.ones(2) + 1e-7)
    with pytest.raises(AssertionError, match=r"Mismatched elements: 1 / 2"):
        torch.testing.assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    with torch.random.fork_rng():
        torch.rand(3)
    assert not torch.jit.is_scripting() and not torch.cuda.is_available() and torch.cuda.device_count() == 0
    assert (
        torch.jit.script(len) is len and not torch.xpu.is_available() and not torch.accelerator.is_available()
    )
    assert not torch.backends.mps.is_available() and torch.version.cuda is None
    assert torch.multiprocessing.get_context("spawn") is not None


def test_an_array_of_a_tensor_that_requires_grad_is_refused_where_gradients_are_recorded() -> None:
    x = torch.ones(3, requires_grad=True)
    for view in (x, x.view(-1)):
        with torch.no_grad():
            assert view.requires_grad and view.numpy().tolist() == [1.0, 1.0, 1.0]
        with pytest.raises(RuntimeError, match="requires grad"):
            view.numpy()
