"""Reflected, in-place and refused operators."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch


def test_shifts() -> None:
    x = torch.tensor([1, 2])
    assert (3 << x).tolist() == [6, 12] and (8 >> x).tolist() == [4, 2]
    x <<= 2
    assert x.tolist() == [4, 8]
    x >>= 1
    assert x.tolist() == [2, 4]


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_shifts_by_more_bits_than_there_are(bits: int) -> None:
    x = torch.tensor([1, 5, 64, -1] * 9, dtype=getattr(torch, f"int{bits}"))
    for n in (-1, bits, bits + 1, 2 * bits):
        assert (x << n).tolist() == [0] * 36 and (x >> n).tolist() == [0, 0, 0, -1] * 9
        by = torch.full_like(x, n)
        assert (x << by).tolist() == [0] * 36 and (x >> by).tolist() == [0, 0, 0, -1] * 9
    assert (x << bits - 1).tolist() == [-(2 ** (bits - 1)), -(2 ** (bits - 1)), 0, -(2 ** (bits - 1))] * 9
    assert (torch.tensor([255, 7], dtype=torch.uint8) >> 8).tolist() == [0, 0]


def test_reversed_and_divided() -> None:
    x = torch.arange(6).view(2, 3)
    assert reversed(x).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert torch.tensor([3.0]).__div__(2).tolist() == [1.5]


def test_numpy_wraps() -> None:
    assert torch.ones(2).__array_wrap__(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_refused() -> None:
    x = torch.ones(3)
    with pytest.raises(TypeError, match="deleting items"):
        del x[0]
    with pytest.raises(RuntimeError, match="sparse tensor layout"):
        x.values()
    with pytest.raises(AttributeError, match="__cuda_array_interface__"):
        x.__cuda_array_interface__  # noqa: B018
    assert not hasattr(x, "__cuda_array_interface__")
    with pytest.raises(NotImplementedError, match="__torch_function__"):
        torch.Tensor.__torch_dispatch__(None, ())


def test_plus_is_the_tensor_itself() -> None:
    x = torch.ones(3, requires_grad=True)
    assert +x is x and torch.positive(x) is x and x.positive() is x
    with pytest.raises(RuntimeError, match="bool tensor is not supported"):
        torch.positive(x > 0)


def test_a_number_may_come_first() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (torch.sub(1, x) + torch.mul(2.5, x) + torch.div(4, x)).sum().backward()
    assert x.grad.tolist() == [-2.5, 0.5] and torch.add(3, 2).item() == 5
    wide = torch.ones(1, dtype=torch.float64)
    assert torch.add(3.1, wide).item() == 4.1 and torch.add(2, wide.to(torch.int8)).dtype is torch.int8
    assert torch.floor_divide(7, torch.tensor([2])).tolist() == [3]
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        torch.relu(3)
