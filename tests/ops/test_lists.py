"""torch._foreach_*: the operation of each tensor, its errors before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch
from flambeau.ops import lists


def some() -> list[Any]:
    return [torch.tensor([0.5, 0.25]), torch.tensor([[0.75]]), torch.tensor(0.125)]


@pytest.mark.parametrize("name", lists.UNARY)
def test_unary(name: str) -> None:
    made = getattr(torch, f"_foreach_{name}")(some())
    assert type(made) is tuple
    assert all(torch.equal(a, getattr(torch, name)(b)) for a, b in zip(made, some()))
    written = some()
    assert getattr(torch, f"_foreach_{name}_")(written) is written
    assert all(torch.equal(a, b) for a, b in zip(written, made))


@pytest.mark.parametrize("name", lists.BINARY)
@pytest.mark.parametrize(
    "other", [2, 0.5, [1, 0.5, 2.0], some()], ids=["whole", "real", "numbers", "tensors"]
)
def test_binary(name: str, other: Any) -> None:
    others = other if isinstance(other, list) else [other] * 3
    like = {"clamp_min": "maximum", "clamp_max": "minimum"}.get(name, name)
    expected = [
        getattr(torch, like)(t, torch.as_tensor(x) if like in ("maximum", "minimum") else x)
        for t, x in zip(some(), others)
    ]
    made, written = getattr(torch, f"_foreach_{name}")(some(), other), some()
    getattr(torch, f"_foreach_{name}_")(written, other)
    for rows in (made, written):
        assert all(torch.equal(a, b) for a, b in zip(rows, expected))


def test_the_other_ways_to_give_an_operand() -> None:
    x, two = some(), torch.tensor(2.0)
    assert torch.equal(torch._foreach_add(x, x, alpha=3)[0], x[0] * 4)
    assert torch.equal(torch._foreach_mul(x, two)[1], x[1] * 2)
    assert torch.equal(torch._foreach_pow(2.0, x)[2], 2.0 ** x[2])
    assert torch.equal(torch._foreach_add(x, scalar=1)[0], x[0] + 1)
    for name in lists.POINTWISE:
        op = getattr(torch, name)
        for value in (1, 0.5, [1.0, 2.0, 3.0], torch.tensor([1.0, 2.0, 3.0])):
            made = getattr(torch, f"_foreach_{name}")(x, x, x, value)
            values = [value] * 3 if isinstance(value, (int, float)) else torch.as_tensor(value).tolist()
            assert all(torch.equal(a, op(t, t, t, value=v)) for a, t, v in zip(made, x, values))
            written = some()
            getattr(torch, f"_foreach_{name}_")(written, x, x, value)
            assert all(torch.equal(a, b) for a, b in zip(made, written))
    for weight in (0.5, [0.5] * 3, [torch.full_like(t, 0.5) for t in x]):
        written = some()
        torch._foreach_lerp_(written, [t + 1 for t in x], weight)
        assert all(torch.equal(a, t + 0.5) for a, t in zip(written, x))
        assert torch.equal(torch._foreach_lerp(x, [t + 1 for t in x], weight)[0], written[0])


def test_the_rest() -> None:
    x = some()
    assert [t.item() for t in torch._foreach_max(x)] == [0.5, 0.75, 0.125]
    assert torch.allclose(torch._foreach_norm(x)[0], x[0].norm())
    assert torch._foreach_norm(x, 1, dtype=torch.float64)[0].dtype is torch.float64
    assert torch._foreach_powsum(x, 2)[0].item() == 0.3125
    m = torch.ones(2, 2)
    assert torch.equal(torch._foreach_mm([m, m], [m, 2 * m])[1], 4 * m)
    copies = torch._foreach_clone(x)
    assert copies[0] is not x[0] and torch.equal(copies[0], x[0])
    torch._foreach_copy_(x, [torch.zeros_like(t) for t in x])
    assert all(not t.any() for t in x)
    torch._foreach_zero_(list(copies))
    assert not copies[0].any()


def test_gradients_go_through() -> None:
    x = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    sum(t.sum() for t in torch._foreach_mul(torch._foreach_exp(x), 2.0)).backward()
    assert torch.allclose(x[1].grad, 2 * torch.ones(3).exp())


def test_errors_come_before_anything_is_written() -> None:
    x = some()
    for call, error, text in (
        (lambda: torch._foreach_add_(x, x[:2]), RuntimeError, "same number of tensors, got 3 and 2"),
        (lambda: torch._foreach_mul_(x, [1.0]), RuntimeError, "same number of elements as scalar list"),
        (lambda: torch._foreach_exp_([]), RuntimeError, "at least one tensor"),
        (lambda: torch._foreach_exp(x[0]), TypeError, "must be tuple of Tensors, not Tensor"),
        (lambda: torch._foreach_add_(x, torch.ones(2)), RuntimeError, "expected to be 0 dim but it has 1"),
        (lambda: torch._foreach_add_(x, "a"), TypeError, "numbers are expected"),
        (lambda: torch._foreach_addcmul_(x, x, x[:1]), RuntimeError, "got 3 and 1"),
        (lambda: torch._foreach_norm([torch.ones(0)], float("inf")), RuntimeError, "infinity norm"),
        (lambda: torch._foreach_max([torch.ones(0)]), RuntimeError, "empty tensor"),
    ):
        with pytest.raises(error, match=text):
            call()
    assert all(torch.equal(a, b) for a, b in zip(x, some()))
