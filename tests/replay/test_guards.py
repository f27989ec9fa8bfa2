"""What a captured function may read besides its arguments: a replay is valid only while all of it is as it was."""

from __future__ import annotations

import itertools
import random
import threading
import warnings
from argparse import Namespace
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flambeau as torch


def agree(step: Any, change: Callable[[int], Any], calls: int = 9) -> None:
    """Captured and plain calls give the same; change(i) is made before call i, and is what is given beside a tensor."""
    captured = torch.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(calls):
            more = change(i) or ()
            x = torch.full((2,), 1.0 + i)
            assert captured(x, *more).tolist() == step(x, *more).tolist(), i


class Items(list[float]):
    pass


class Config:
    rate = 1.0

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Kind(type):
    @property
    def rate(cls) -> float:
        return cls.held[0]  # type: ignore[attr-defined, no-any-return]


class Held(metaclass=Kind):
    held = [1.0]


def late(i: int, do: Callable[[], Any]) -> None:
    if i == 4:
        do()


@pytest.mark.parametrize("kind", [list, Items, deque, lambda v: array("d", v), np.array])
def test_sequences(kind: Any) -> None:
    held = kind([1.0, 2.0])
    agree(lambda x: x * float(held[0]), lambda i: late(i, lambda: held.__setitem__(0, 3.0)))


def test_sets_and_bytes() -> None:
    numbers, text = {3, 1}, bytearray(b"a")
    agree(lambda x: x * sum(numbers) * len(text), lambda i: late(i, lambda: numbers.add(5)))
    agree(lambda x: x * sum(numbers) * len(text), lambda i: late(i, lambda: text.append(5)))


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_the_order_of_a_dictionary(kind: Any) -> None:
    held = kind(a=1.0, b=2.0)

    def step(x: Any) -> Any:
        for v in held.values():
            x = (x + v) * v
        return x

    agree(step, lambda i: late(i, lambda: held.__setitem__("a", held.pop("a"))))

    def given(x: Any, table: Any) -> Any:
        for v in table.values():
            x = (x + v) * 2
        return x

    one, two = torch.ones(2), torch.ones(2) * 3
    agree(given, lambda i: ({"a": one, "b": two} if i % 4 else {"b": two, "a": one},))


def test_the_sign_of_zero() -> None:
    held = [0.0]
    agree(lambda x: 1 / (x * held[0]), lambda i: late(i, lambda: held.__setitem__(0, -0.0)))
    agree(lambda x, s: 1 / (x * s), lambda i: ((0.0, -0.0)[i % 2],))
    agree(lambda x, s: 1 / (x * s), lambda i: (0.0 if i < 4 else -0.0,))


def test_defaults_and_attributes_of_functions() -> None:
    def inner(x: Any, k: float = 1.0, *, j: float = 1.0) -> Any:
        return x * k * j * inner.rate  # type: ignore[attr-defined]

    inner.rate = 1.0  # type: ignore[attr-defined]

    def step(x: Any) -> Any:
        return inner(x)

    agree(step, lambda i: late(i, lambda: setattr(inner, "__defaults__", (2.0,))))
    agree(step, lambda i: late(i, lambda: setattr(inner, "__kwdefaults__", {"j": 3.0})))
    agree(step, lambda i: late(i, lambda: setattr(inner, "rate", 5.0)))


@pytest.mark.parametrize("kind", [Config, lambda: SimpleNamespace(rate=1.0), lambda: Namespace(rate=1.0)])
def test_attributes(kind: Any) -> None:
    held = kind()
    agree(lambda x: x * held.rate, lambda i: late(i, lambda: setattr(held, "rate", 2.0)))


def test_a_metaclass_a_thread_and_a_context() -> None:
    agree(lambda x: x * Held.rate, lambda i: late(i, lambda: Held.held.__setitem__(0, 2.0)))
    local, var = threading.local(), ContextVar("rate", default=1.0)
    local.rate = 1.0
    agree(lambda x: x * local.rate, lambda i: late(i, lambda: setattr(local, "rate", 2.0)))
    agree(lambda x: x * var.get(), lambda i: late(i, lambda: var.set(2.0)))


def test_iterators_and_random_numbers_of_others() -> None:
    def numbers() -> Iterator[float]:
        while True:
            yield from (1.0, 1.0, 1.0, 5.0)

    for it in (numbers(), itertools.cycle([1.0, 1.0, 1.0, 2.0]), iter([1.0] * 5 + [2.0] * 5)):
        captured = torch.compile(lambda x, it=it: x * next(it))
        assert captured is not None
        with pytest.warns(UserWarning, match="gives other values each time"):
            found = [captured(torch.ones(1)).item() for _ in range(8)]
        assert len(set(found)) == 2
    for python in (random.Random(1), np.random.RandomState(1), np.random.default_rng(1)):
        f = torch.compile(lambda x, r=python: x * 2 if r.random() < 0.5 else x * 3)
        with pytest.warns(UserWarning, match="random numbers of Python or NumPy"):
            assert len({f(torch.ones(1)).item() for _ in range(12)}) == 2


def test_an_iterator_that_is_an_attribute_by_name_is_not_meant() -> None:
    space: dict[str, Any] = {"data": iter([1])}
    exec("def step(x): return x.data * 2", space)
    f = torch.compile(space["step"])
    for _ in range(4):
        f(torch.ones(2))
    assert f.captured.replays


def test_hooks_of_leaves() -> None:
    def run(compiled: bool) -> list[Any]:
        w, found = torch.ones(3, requires_grad=True), []

        def step(x: Any, y: Any) -> None:
            (x * w + y).sin().sum().backward()

        f = torch.compile(step) if compiled else step
        for i in range(12):
            y = torch.ones(3, requires_grad=True)
            if i == 4:
                handle = w.register_hook(lambda g: g * 3)
            if i == 7:
                handle.remove()
            if i == 9:
                y.register_hook(lambda g: g * 7)
            f(torch.ones(3) * i, y)
            found.append((w.grad.tolist(), y.grad.tolist()))
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(True) == run(False)


def test_attributes_of_arguments_and_the_seed() -> None:
    def tagged(x: Any) -> Any:
        x.tag = 1
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = torch.compile(tagged)
        for _ in range(6):
            x = torch.ones(2)
            f(x)
            assert x.tag == 1
        g = torch.compile(lambda x: x * getattr(x, "scale", 1.0))
        for i in range(8):
            x = torch.ones(1)
            if i > 4:
                x.scale = 3.0
            assert g(x).item() == (3.0 if i > 4 else 1.0)
        h = torch.compile(lambda x: x * torch.initial_seed())
        for i in range(8):
            torch.manual_seed(i // 4)
            assert h(torch.ones(1)).item() == i // 4


def test_tensors_made_like_one_that_is_turned_are_no_views() -> None:
    def step(x: Any) -> tuple[Any, ...]:
        makers = (torch.zeros_like, torch.ones_like, torch.empty_like, lambda t: torch.full_like(t, 2.0))
        return tuple([make(x).copy_(x) for make in makers])

    f = torch.compile(step)
    for i in range(5):
        x = (torch.ones(4, 3, requires_grad=True) * i).t()
        for a, b in zip(f(x), step(x)):
            assert a.stride() == b.stride() == (1, 3) and a.tolist() == b.tolist()
            assert type(a.grad_fn) is type(b.grad_fn) and a._base is None


@pytest.mark.filterwarnings("ignore:torch.compile")  # a shared constant may be needed meanwhile
def test_threads_that_train_at_once() -> None:
    errors: list[Any] = []

    def train(k: int, compiled: bool, out: dict[int, Any]) -> None:
        try:
            w = torch.full((5,), 0.5 + k, requires_grad=True)
            optimizer = torch.optim.Adam([w], lr=0.01)

            def step(x: Any) -> Any:
                optimizer.zero_grad()
                loss = (w * x).square().mean()
                loss.backward()
                optimizer.step()
                return loss

            f = torch.compile(step) if compiled else step
            for i in range(10):
                f(torch.full((5,), i * 0.1))
            out[k] = w.tolist()
        except BaseException as error:
            errors.append(error)

    for _ in range(4):
        found: dict[int, Any] = {}
        threads = [threading.Thread(target=train, args=(k, True, found)) for k in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not errors
        plain: dict[int, Any] = {}
        for k in range(3):
            train(k, False, plain)
        assert found == plain
