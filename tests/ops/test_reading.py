"""Values read by builtins: the same as by the definitions in Python, and every case that is left to those."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.device import cpython
from flambeau.ops import builtins

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="another interpreter")
DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.fixture(autouse=True)
def builtin() -> Iterator[None]:
    builtins.install()
    yield
    builtins.install()


def both(read: Any, t: Any) -> tuple[Any, Any]:
    """What the builtin and the definition in Python say."""

    def outcome() -> Any:
        try:
            return read(t)
        except Exception as error:
            return type(error), str(error)

    builtins.install()
    assert type(torch.Tensor.item).__name__ == "method_descriptor"
    found = outcome()
    builtins.remove()
    assert type(torch.Tensor.item).__name__ == "function"
    return found, outcome()


def equal(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # NaN, -0.0, and 1 is not True


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("read", ["item", "tolist", "__float__", "__int__", "__bool__", "__index__"])
def test_every_dtype(dtype: str, read: str) -> None:
    d = getattr(torch, dtype)
    low = 0 if dtype in ("uint8", "bool") else -3
    x = torch.arange(low, low + 24).to(d).reshape(2, 3, 4)
    lists = [x, x.transpose(0, 2), x[:, 1], x[..., ::2], x[:, :0], x[1, 2], x[1, 2, 3:]]
    for t in [*(lists if read == "tolist" else lists[-2:]), x[0, 0, 0], x[1, 2, 3], x.sum().to(d)]:
        found, expected = both(operator.methodcaller(read), t)
        assert equal(found, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, -2.7, 3e30, 5e-324])
@pytest.mark.parametrize("read", [torch.Tensor.item, float, int, bool, operator.index])
def test_special_values(value: float, read: Any) -> None:
    for d in (torch.float32, torch.float64):
        found, expected = both(read, torch.tensor(value, dtype=d))
        assert equal(found, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor(1.5, dtype=torch.bfloat16),
        lambda: torch.tensor(1.5, dtype=torch.float16),
        lambda: torch.tensor(1 + 2j),
        lambda: torch.zeros(3),
        lambda: torch.zeros(0),
        lambda: torch.tensor([True]),
        lambda: torch.ones(1).as_subclass(type("Sub", (torch.Tensor,), {})),
        lambda: torch.nn.Parameter(torch.tensor(2.0)),
        lambda: torch.tensor(2.0, requires_grad=True) * 2,
    ],
)
@pytest.mark.parametrize("read", [torch.Tensor.item, torch.Tensor.tolist, float, int, bool, operator.index])
def test_what_python_takes_care_of(make: Any, read: Any) -> None:
    name = getattr(read, "__name__", "")
    call = operator.methodcaller(name) if name in ("item", "tolist") else read
    found, expected = both(call, make())
    assert equal(found, expected)


def test_what_is_recorded_is_run_first() -> None:
    x = torch.arange(4.0)
    y = x * 2 + 1
    assert y[2].item() == 5 and y.tolist() == [1, 3, 5, 7]
    x.add_(10)
    assert x.tolist() == [10, 11, 12, 13] and y.tolist() == [1, 3, 5, 7]
    v = x[1:3]
    v.mul_(2)
    assert float(x[1]) == 22 and v.tolist() == [22, 24]
    w = x + 1
    x.zero_()  # recorded on bytes that are there
    assert x.tolist() == [0] * 4 and w.tolist() == [11, 23, 25, 14]


def test_errors_of_the_run_reach_the_caller() -> None:
    y = torch.arange(6.0)[torch.tensor([1, 7]) * 2]
    for read in (y.tolist, lambda: torch.equal(y, y)):
        with pytest.raises(IndexError, match="14 is out of bounds"):
            read()


def test_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        torch.ones(1).item(0)
    with pytest.raises(TypeError):
        torch.Tensor.item(1.0)
    assert torch.Tensor.item.__doc__ and torch.Tensor.tolist.__doc__


def test_a_value_read_ends_a_capture() -> None:
    @torch.compile
    def step(x: Any) -> Any:
        return x * 2 if x.sum().item() > 0 else x

    with pytest.warns(UserWarning, match="value"):
        for _ in range(4):
            assert step(torch.ones(2)).tolist() == [2, 2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal(dtype: str) -> None:
    d = getattr(torch, dtype)
    for n in (0, 1, 5, 1024, 1025):
        x = (torch.arange(n) % 2).to(d)
        y = x.clone()
        assert torch.equal(x, y) and x.equal(x)
        if n:
            y[-1] = 1 - int(y[-1])
            assert not torch.equal(x, y) and not torch.equal(x, y[1:])


def test_equal_of_floating_point_numbers() -> None:
    nan = torch.tensor([1.0, math.nan])
    assert not torch.equal(nan, nan)
    assert torch.equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert torch.equal(torch.ones(2, 3).t(), torch.ones(3, 2)) and not torch.equal(
        torch.ones(2), torch.ones(1, 2)
    )


def test_reading_keeps_no_reference() -> None:
    x, big = torch.arange(6.0).reshape(2, 3), torch.tensor(1 << 40)
    watched = [x, x._st, x._meta, big, None, True, False]
    for t in (x, big):
        t.tolist()
    before = [sys.getrefcount(w) for w in watched]
    for _ in range(2000):
        (
            x.tolist(),
            x[0, 1].item(),
            big.item(),
            float(big),
            bool(big),
            torch.equal(x, x),
            torch.equal(x, x + 1),
        )
    after = [sys.getrefcount(w) for w in watched]
    assert all(abs(a - b) < 1000 for a, b in zip(after, before)), (before, after)
