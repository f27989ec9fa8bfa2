"""Operations written by the user: what their backward may give."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch


class _Affine(torch.autograd.Function):
    """Its backward leaves to autograd what was broadcast."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any, w: Any, b: Any) -> Any:
        return x * w + b

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w, _ = ctx.saved_tensors
        return g * w, g * x, g


def plain(x: Any, w: Any, b: Any) -> Any:
    return x * w + b


def of(fn: Any) -> Any:
    return lambda x, w, b: (fn(x, w, b) ** 2).sum()


def test_gradients_are_summed_over_what_was_broadcast() -> None:
    x, w = torch.arange(6.0, dtype=torch.float64).reshape(3, 2), torch.tensor([2.0, 3.0], dtype=torch.float64)
    given = [
        x.requires_grad_(),
        w.requires_grad_(),
        torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
    ]
    got = torch.autograd.grad(of(_Affine.apply)(*given), given)
    for a, b, t in zip(got, torch.autograd.grad(of(plain)(*given), given), given):
        assert a.shape == t.shape and torch.equal(a, b)
    assert torch.autograd.gradcheck(_Affine.apply, given)
    assert torch.autograd.gradgradcheck(_Affine.apply, given)


@pytest.mark.parametrize("dims", [(0, 0, 0), (0, None, None), (0, 0, None), (None, 0, 0)])
def test_gradients_of_samples_are_too(dims: Any) -> None:
    whole = torch.randn(3, 3, 2), torch.randn(3, 2), torch.randn(3)
    given = [t if d == 0 else t[0] for t, d in zip(whole, dims)]
    got, want = (
        torch.func.vmap(torch.func.grad(of(fn), argnums=(0, 1, 2)), in_dims=dims)(*given)
        for fn in (_Affine.apply, plain)
    )
    for a, b in zip(got, want):
        assert torch.allclose(a, b, rtol=1e-5)
    if dims == (0, None, None):
        shared = [
            torch.func.grad(
                lambda w, fn=fn: torch.func.vmap(of(fn), in_dims=dims)(given[0], w, given[2]).sum()
            )
            for fn in (_Affine.apply, plain)
        ]
        assert torch.allclose(*[change(given[1]) for change in shared], rtol=1e-5)


def returning(made: Any) -> Any:
    body = {"forward": staticmethod(lambda ctx, x: x * 2), "backward": staticmethod(lambda ctx, g: made(g))}
    return type("Twice", (torch.autograd.Function,), body)


def test_what_does_not_fit_is_refused() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    for made, error, text in (
        (lambda g: g[0], RuntimeError, r"TwiceBackward returned an invalid gradient at index 0 - got \[2\]"),
        (lambda g: torch.ones(5), RuntimeError, r"got \[5\] but expected shape compatible with \[3, 2\]"),
        (lambda g: (g, g), RuntimeError, "incorrect number of gradients"),
        (lambda g: 1.0, TypeError, "expected Variable or None"),
    ):
        with pytest.raises(error, match=text):
            returning(made).apply(x).sum().backward()
        assert x.grad is None


def test_a_gradient_of_another_dtype_is_cast() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    returning(lambda g: g.double() * 3).apply(x).sum().backward()
    assert x.grad.dtype is torch.float32 and x.grad.tolist() == [[3.0, 3.0]] * 3
