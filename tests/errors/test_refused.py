"""Numbers and dtypes that PyTorch refuses: no value is wrapped around or cut without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch

OVER = "without overflow"
PLACES = torch.tensor([0])
MASK = torch.tensor([True, False])

WRITES: list[Callable[[Any, Any], Any]] = [
    lambda x, v: x.fill_(v),
    lambda x, v: torch.full((2,), v, dtype=x.dtype),
    lambda x, v: torch.full_like(x, v),
    lambda x, v: x.new_full((2,), v),
    lambda x, v: x.masked_fill(MASK, v),
    lambda x, v: x.masked_fill_(MASK, v),
    lambda x, v: x.index_fill(0, PLACES, v),
    lambda x, v: x.scatter(0, PLACES, v),
    lambda x, v: torch.nn.functional.pad(x, (1, 1), value=v),
    lambda x, v: torch.nn.functional.threshold(x, 1, v),
    lambda x, v: x.__setitem__(0, v),
    lambda x, v: x.__setitem__(PLACES, v),
    lambda x, v: x.__setitem__(MASK, v),
]


@pytest.mark.parametrize("write", WRITES)
def test_numbers_that_a_dtype_does_not_hold(write: Any) -> None:
    for d, type_name, *values in (
        (torch.uint8, "uint8_t", 256, -256, 255.5, -1.0, float("nan")),
        (torch.int8, "int8_t", 128, -129, 200.0),
        (torch.int32, "int", 1 << 31, float("inf")),
        (torch.float32, "float", 1e39, 1.5j),
        (torch.float16, "c10::Half", 65505, -1e6),
    ):
        for v in values:
            x = torch.tensor([1, 2]).to(d)
            with pytest.raises(RuntimeError, match=f"value cannot be converted to type {type_name} {OVER}"):
                write(x, v)
            assert x.tolist() == [1, 2]


def test_numbers_that_it_holds() -> None:
    assert torch.tensor([1], dtype=torch.uint8).fill_(-1).tolist() == [255]
    assert torch.tensor([1.0]).fill_(float("inf")).tolist() == [float("inf")]
    assert torch.tensor([1.0]).fill_(2 + 0j).tolist() == [2.0]
    assert torch.tensor([1.0]).masked_fill(torch.tensor([True]), 2 + 0j).tolist() == [2.0]
    assert torch.tensor([False]).fill_(1.5j).tolist() == [True]
    assert torch.tensor([1], dtype=torch.complex64).fill_(1e38j).tolist()[0].imag > 0


def test_differences_and_factors() -> None:
    flags, x = torch.tensor([True]), torch.tensor([1.0])
    for call in (
        lambda: flags - 1,
        lambda: 1 - flags,
        lambda: x - True,
        lambda: True - x,
        lambda: x.sub_(True),
        lambda: torch.rsub(flags, 1),
        lambda: x - flags,
    ):
        with pytest.raises(RuntimeError, match="with a bool tensor is not supported"):
            call()
    with pytest.raises(RuntimeError, match="Boolean alpha"):
        torch.add(x, x, alpha=True)
    with pytest.raises(RuntimeError, match="argument alpha must not be a floating point number"):
        torch.sub(torch.tensor([1]), 2, alpha=2.5)
    for call in (
        lambda: x.lerp(x, 1j),
        lambda: x.addcmul(x, x, value=1j),
        lambda: torch.addmv(x, x.reshape(1, 1), x, beta=1j),
        lambda: torch.nn.functional.leaky_relu(x, 1j),
    ):
        with pytest.raises(RuntimeError, match=f"to type float {OVER}"):
            call()
    with pytest.raises(RuntimeError, match=OVER):
        torch.where(MASK, torch.tensor([1, 2], dtype=torch.uint8), 300)


def test_tensors_at_indices_have_the_dtype_of_the_target() -> None:
    x = torch.tensor([1.0, 2.0])
    for value in (torch.tensor(2), torch.tensor([2.0], dtype=torch.float64), torch.tensor(1j)):
        with pytest.raises(RuntimeError, match="source and destination dtypes match"):
            x[PLACES] = value
    x[MASK] = torch.tensor([5])
    x[1] = torch.tensor(7)
    assert x.tolist() == [5.0, 7.0]


def test_whole_numbers_divided_by_zero() -> None:
    x = torch.tensor([1, 2])
    for call in (
        lambda: x // 0,
        lambda: x % 0,
        lambda: x.fmod(False),
        lambda: x.clone().remainder_(0),
        lambda: x.clone().floor_divide_(0),
    ):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            call()
    assert (x // 0.0).tolist() == [float("inf")] * 2 and (x.double() // 0).tolist() == [float("inf")] * 2


def test_what_whole_numbers_have_not() -> None:
    x = torch.tensor([1, 2])
    for call in (
        lambda: x.softmax(0),
        lambda: torch.nn.functional.log_softmax(x, 0),
        lambda: torch.hypot(x, x),
        lambda: torch.nextafter(x, x),
        lambda: torch.logaddexp(x, x),
        lambda: torch.nn.functional.mse_loss(x, x),
    ):
        with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
            call()
    for tests in (x > 1, x * 1j):
        with pytest.raises(RuntimeError, match="Unsupported input type encountered for isin"):
            torch.isin(x, tests)


def test_bounds_that_a_dtype_does_not_hold() -> None:
    few = torch.tensor([5, 6], dtype=torch.int8)
    for call in (
        lambda: few.clamp(max=300),
        lambda: few.clamp_(min=-200),
        lambda: few.clip(-200, 5),
        lambda: torch.clamp_max(few, 128),
        lambda: torch.tensor([1.0]).clamp(max=1e300),
    ):
        with pytest.raises(RuntimeError, match=OVER):
            call()
    assert few.tolist() == [5, 6]
    assert few.clamp(max=300.0).tolist() == few.clamp(max=300, min=torch.tensor(0.5)).tolist() == [5.0, 6.0]
    assert torch.tensor([1.0]).clamp(max=float("inf")).tolist() == [1.0]


def test_dropout_of_whole_numbers() -> None:
    x, functional = torch.ones(2, 3, dtype=torch.int64), torch.nn.functional
    for call in (
        lambda: functional.dropout(x, 0.5),
        lambda: functional.dropout(x, 0.5, inplace=True),
        lambda: functional.alpha_dropout(x, 0.5, True),
        lambda: functional.dropout1d(x, 0.5),
    ):
        with pytest.raises(
            RuntimeError, match="result type Float can't be cast to the desired output type Long"
        ):
            call()
    assert functional.dropout(x, 0.5, training=False) is x and functional.dropout(x, 1.0).sum().item() == 0
