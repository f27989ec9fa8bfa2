"""The LSTM's steps as one op: beside PyTorch, of second order, on any number of threads, for any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.stream import program


def mine(x: Any) -> Any:
    made = flambeau.from_numpy(x.detach().numpy().copy())
    return made.requires_grad_() if x.requires_grad else made


CASES = [(5, 6, 1, False, 7, 3), (5, 6, 2, True, 7, 20), (8, 16, 2, False, 1, 1), (20, 40, 2, True, 9, 13)]


@pytest.mark.parametrize("sizes", CASES)
def test_values_and_gradients(sizes: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    given, size, layers, bidirectional, steps, batch = sizes
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(given, size, layers, bidirectional=bool(bidirectional))
    ours = flambeau.nn.LSTM(given, size, layers, bidirectional=bool(bidirectional))
    ours.load_state_dict({k: mine(v.detach()) for k, v in theirs.state_dict().items()})
    rows = layers * (2 if bidirectional else 1)
    x = torch.randn(steps, batch, given, requires_grad=True)
    state = tuple(torch.randn(rows, batch, size, requires_grad=True) for _ in range(2))
    y, mine_state = mine(x), tuple(mine(s) for s in state)
    pairs: list[tuple[Any, Any]] = []
    for module, inputs, hidden in ((theirs, x, state), (ours, y, mine_state)):
        out, (h, c) = module(inputs, hidden)
        ((out * out).sum() + (h * 2).sum() + (c * c * c).sum()).backward()
        grads = [t.grad for t in (inputs, *hidden, *module.parameters())]
        pairs.append((out, h, c, *grads))
    for want, got in zip(*pairs):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_second_order() -> None:
    flambeau.manual_seed(0)
    module = flambeau.nn.LSTM(3, 4, bidirectional=True, dtype=flambeau.float64)

    def call(x: Any) -> Any:
        out, (h, c) = module(x)
        return out, h, c

    x = flambeau.randn(3, 2, 3, dtype=flambeau.float64, requires_grad=True)
    assert gradcheck(call, (x,))
    assert gradgradcheck(call, (x,))


def trained(threads: int) -> list[Any]:
    flambeau.manual_seed(1)
    module = flambeau.nn.LSTM(20, 33)
    x = flambeau.randn(12, 11, 20, requires_grad=True)
    before = flambeau.get_num_threads()
    flambeau.set_num_threads(threads)
    try:
        out, _ = module(x)
        out.square().sum().backward()
        flambeau.synchronize()
    finally:
        flambeau.set_num_threads(before)
    return [out, x.grad, *(p.grad for p in module.parameters())]


def test_same_bits_on_any_number_of_threads() -> None:
    for a, b in zip(trained(1), trained(2)):
        assert flambeau.equal(a, b)


def test_the_length_is_an_argument_of_the_kernels() -> None:
    def titles() -> int:
        return sum("recurrence" in type(key[1]).__module__ for key in program.KERNELS)

    module = flambeau.nn.LSTM(7, 9)
    before = titles()
    for steps in range(1, 12):
        out, _ = module(flambeau.randn(steps, 2, 7))
        out.sum().backward()
        flambeau.synchronize()
    assert titles() - before == 2  # forward and backward
