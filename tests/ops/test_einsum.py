"""einsum and tensordot beside NumPy, their gradients, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch

EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("i,i->", (4,), (4,)),
    ("i,j->ij", (4,), (5,)),
    ("ii->i", (4, 4)),
    ("ii", (4, 4)),
    ("ij->ji", (3, 4)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 6)),
    ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)),
    ("ijk,ilj,ml->kim", (3, 4, 5), (3, 2, 4), (6, 2)),
    ("ab,cd->abcd", (2, 3), (4, 5)),
    ("abc,bad->cd", (2, 3, 4), (3, 2, 5)),
    ("iij,ik->kj", (3, 3, 4), (3, 2)),
    ("ij,jk", (2, 0), (0, 3)),
    (" i j , j k -> i k", (2, 3), (3, 2)),
]


@pytest.mark.parametrize(("equation", "shapes"), [(e, s) for e, *s in EQUATIONS])
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in shapes]
    operands = [torch.tensor(a, requires_grad=True) for a in arrays]
    result = torch.einsum(equation, *operands)
    expected = np.einsum(equation.replace(" ", ""), *arrays)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-10, atol=1e-10)
    result.sum().backward()
    step = 1e-6
    for x, a, i in zip(operands, arrays, range(len(arrays))):
        direction = rng.standard_normal(a.shape)
        moved = [b + step * direction if j == i else b for j, b in enumerate(arrays)]
        slope = (np.einsum(equation.replace(" ", ""), *moved).sum() - expected.sum()) / step
        np.testing.assert_allclose((x.grad.numpy() * direction).sum(), slope, rtol=1e-3, atol=1e-4)


def test_extents_of_one_broadcast() -> None:
    a, b = torch.rand(3, 1), torch.rand(3, 4)
    assert torch.equal(torch.einsum("ij,ij->ij", a, b), a * b)
    assert np.allclose(torch.einsum("ij,ij->i", a, b).numpy(), (a * b).sum(1).numpy())


def test_lists_of_numbers() -> None:
    a, b = torch.rand(2, 3), torch.rand(3, 4)
    assert torch.equal(torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), torch.einsum("ij,jk->ik", [a, b]))


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("ij,jk", [(2, 3), (4, 5)], "does not broadcast with previously seen size 3"),
        ("ij->k", [(2, 3)], "does not appear in the equation for any input operand"),
        ("i1", [(2, 3)], "invalid subscript given at index 1"),
        ("ij", [(2,)], "does not match the number of dimensions"),
        ("i..", [(2,)], "not part of any ellipsis"),
        ("ij,j", [(2, 3)], "fewer operands were provided"),
        ("i", [(2,), (2,)], "more operands were provided"),
        ("ii", [(2, 3)], "is repeated for operand 0 but the sizes don't match"),
        ("i->ii", [(2,)], "appears more than once in the output"),
    ],
)
def test_refused(equation: str, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        torch.einsum(equation, *[torch.ones(s) for s in shapes])


def test_tensordot() -> None:
    a, b = torch.rand(3, 4, 5), torch.rand(4, 3, 2)
    expected = np.tensordot(a.numpy(), b.numpy(), ([1, 0], [0, 1]))
    np.testing.assert_allclose(torch.tensordot(a, b, ([1, 0], [0, 1])).numpy(), expected, rtol=1e-5)
    assert torch.tensordot(a, b, 0).shape == (3, 4, 5, 4, 3, 2)
    with pytest.raises(RuntimeError, match="contracted dimensions need to match"):
        torch.tensordot(a, b, 1)


def test_sums_with_a_product_are_one_node() -> None:
    m, v, w = torch.rand(3, 4, requires_grad=True), torch.rand(4), torch.rand(3)
    r = torch.addmv(w, m, v, beta=0.5, alpha=2)
    np.testing.assert_allclose(
        r.detach().numpy(), 0.5 * w.numpy() + 2 * (m.detach().numpy() @ v.numpy()), rtol=1e-6
    )
    assert type(r.grad_fn).__name__ == "AddmvBackward0"
    r.sum().backward()
    np.testing.assert_allclose(m.grad.numpy(), 2 * np.ones((3, 1)) * v.numpy(), rtol=1e-6)
    nothing = torch.full((2, 3, 3), float("nan"))
    stack = torch.rand(2, 3, 3)
    assert torch.equal(torch.baddbmm(nothing, stack, stack, beta=0), stack @ stack)
