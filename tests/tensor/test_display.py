"""The printed form of tensors is PyTorch's, character by character."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau

pytorch = pytest.importorskip("torch")
INF, NAN = float("inf"), float("nan")
NUMBERS = {
    "whole": [1.0, 2.0, 3.0],
    "fractions": [1.5, 2.25],
    "wide": [1.0, 1000.5, 3],
    "large": [1e10, 1.0],
    "small": [1e-5, 1.0],
    "tiny": [1e-6, 2e-6],
    "infinite": [1.0, INF, -INF],
    "whole and infinite": [1.0, 2.0, INF],
    "not a number": [NAN, 1.5],
    "only nan": [NAN],
    "negative": [-1.0, 2.5],
    "zeros": [0.0, 0.0],
    "negative zero": [-0.0, 1.0],
    "a billion": [1e9, 2.0],
    "hundred million": [100000000.0, 1.0],
    "12345": [12345.678, 1.0],
    "denormal": [1e-45, 1.0],
}
SHAPES = [(1001,), (40, 40), (2, 600), (3, 4, 100), (2, 3, 4), (2, 2, 2, 3), (30, 30, 30), (1, 1, 1), (25,)]
EMPTY = [(0,), (0, 3), (2, 0, 3), ()]
OPTIONS: list[dict[str, Any]] = [
    {"precision": 2},
    {"sci_mode": True},
    {"sci_mode": False},
    {"linewidth": 40},
    {"edgeitems": 1, "threshold": 5},
    {"profile": "full"},
    {"profile": "short"},
]


@pytest.fixture(autouse=True)
def default_options() -> Iterator[None]:
    yield
    for m in (flambeau, pytorch):
        m.set_printoptions(profile="default")


def same(make: Any) -> None:
    assert make(flambeau).replace("flambeau", "torch") == make(pytorch)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str, dtype: str) -> None:
    same(lambda m: repr(m.tensor(NUMBERS[name], dtype=getattr(m, dtype))))
    same(lambda m: repr(m.tensor(NUMBERS[name][0], dtype=getattr(m, dtype))))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "bool"])
def test_integers(dtype: str) -> None:
    same(lambda m: repr(m.tensor([[1, 0, 3], [100, 7, 0]], dtype=getattr(m, dtype))))
    same(lambda m: repr(m.tensor(1, dtype=getattr(m, dtype))))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for a in (rng.standard_normal(shape).astype(np.float32), rng.integers(-50, 5000, shape)):
        same(lambda m, a=a: repr(m.from_numpy(a)))


@pytest.mark.parametrize("shape", EMPTY)
def test_empty(shape: tuple[int, ...]) -> None:
    for dtype in ("float32", "int64", "float64"):
        same(lambda m, dtype=dtype: repr(m.zeros(shape, dtype=getattr(m, dtype))))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_print_options(options: dict[str, Any]) -> None:
    for m in (flambeau, pytorch):
        m.set_printoptions(**options)
    for name in ("fractions", "wide", "large", "tiny", "infinite", "whole"):
        same(lambda m, name=name: repr(m.tensor(NUMBERS[name])))
    same(lambda m: repr(m.arange(30.0)) + repr(m.arange(30).reshape(5, 6)))


def test_gradients_parameters_and_containers() -> None:
    def text(m: Any) -> str:
        x = m.ones(3, requires_grad=True)
        shown = [x, x * 2, (x * 2).sum(), (x * 2)[1:], x > 0, x.detach(), m.nn.Parameter(m.ones(2, 2))]
        shown += [m.ones(2, 20, requires_grad=True).exp(), m.ones(2, 10, dtype=m.float64, requires_grad=True)]
        shown += [[m.ones(2), m.zeros(1)], {"a": m.ones(2)}, m.ones(2, 3).shape, m.float32, m.ones(1).device]
        shown += [m.ones(1, 3).expand(2, 3), m.arange(6).reshape(2, 3).T, m.ones(2, 2).max(1)]
        return "\n".join(map(repr, shown))

    same(text)


def test_format() -> None:
    same(lambda m: f"{m.tensor(1.23456):.2f} {m.tensor(3)} {m.ones(2)} {m.tensor(3):5d} {m.tensor(True)}")
    for m in (flambeau, pytorch):
        with pytest.raises(TypeError):
            f"{m.ones(2):.2f}"
