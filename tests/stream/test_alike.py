"""Rows of a list that are alike: planned once, whatever their shapes, with the bits of rows planned alone."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau.stream.nests import NestBuilder

SHAPES = [(64,), (64, 32), (8, 3, 3, 3), (5, 7), (64, 32, 1, 1), (33000,), (3, 1, 5), (64, 32)]
ODD = [(), (1,), (1, 1), (0,), (2, 0)]  # of one element or none: kernels of their own
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "rprop": lambda p: torch.optim.Rprop(p, 0.01),
}


def parameters(shapes: list[tuple[int, ...]]) -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    every = [torch.randn(*shape) for shape in shapes]
    every += [torch.randn(6, 8).t(), torch.randn(30)[3:17], torch.randn(30)[4:18]]
    every += [torch.randn(6, 5, dtype=torch.float64), torch.randn(40).bfloat16(), torch.randn(9).bfloat16()]
    made = [torch.nn.Parameter(x) for x in every]
    for p in made:
        p.grad = torch.randn(*p.shape).to(p.dtype)
    return made


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_list_has_the_bits_of_its_rows_alone(name):
    together, alone = parameters(2 * SHAPES + ODD), parameters(2 * SHAPES + ODD)
    optimizers = [OPTIMIZERS[name](together), *[OPTIMIZERS[name]([p]) for p in alone]]
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone):
        assert torch.equal(a, b), a.shape


def nests_built(shapes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> int:
    count, build = 0, NestBuilder.build

    def counted(self: NestBuilder) -> object:
        nonlocal count
        count += 1
        return build(self)

    made = [torch.nn.Parameter(torch.ones(*shape)) for shape in shapes]
    for p in made:
        p.grad = torch.ones_like(p)
    optimizer = torch.optim.NAdam(made, 0.02 + 1e-3 * len(shapes))
    with monkeypatch.context() as m:
        m.setattr(NestBuilder, "build", counted)
        optimizer.step()
    return count


def test_other_shapes_of_a_row_are_not_planned(monkeypatch):
    few = nests_built([(n, 3) for n in range(2, 22)], monkeypatch)
    many = nests_built([(n, 5 + n % 7) for n in range(2, 202)], monkeypatch)
    assert max(few, many) <= 4
