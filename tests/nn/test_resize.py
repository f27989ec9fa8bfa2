"""interpolate by whole factors, which copies elements, and by tables that are kept between calls, beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.autograd import gradcheck, gradgradcheck

torch = pytest.importorskip("torch")

CASES = [
    ((2, 3, 7), {"scale_factor": 3}),
    ((2, 3, 4, 5), {"scale_factor": 2}),
    ((2, 3, 4, 5), {"scale_factor": (1, 3)}),
    ((2, 3, 4, 5), {"size": (8, 5)}),
    ((2, 3, 4, 5), {"size": (4, 5)}),
    ((2, 3, 4, 5), {"size": (8, 7)}),
    ((2, 3, 1, 1), {"size": (33, 17)}),
    ((2, 3, 4, 5), {"scale_factor": 2.5}),
    ((2, 3, 2, 3, 2), {"scale_factor": (2, 1, 3)}),
]


def results(t: Any, shape: Any, how: Any, mode: str, last: bool) -> list[Any]:
    """Values, gradient, and what the gradient is differentiable to."""
    rng = np.random.default_rng(0)
    x = t.tensor(rng.standard_normal(shape).astype(np.float32))
    x = x.to(memory_format=t.channels_last) if last else x
    x.requires_grad_()
    y = t.nn.functional.interpolate(x, mode=mode, **how)
    plain = t.nn.functional.interpolate(x.detach(), mode=mode, **how)
    g = t.tensor(rng.standard_normal(tuple(y.shape)).astype(np.float32)).requires_grad_()
    (back,) = t.autograd.grad(y, x, g, create_graph=True)
    (twice,) = t.autograd.grad((back * back).sum(), g)
    assert y.stride() == plain.stride()
    return [*[v.detach().numpy() for v in (y, plain, back, twice)], np.array(y.stride())]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "how"), CASES)
def test_nearest(shape: Any, how: Any, mode: str, last: bool) -> None:
    if last and (len(shape) != 4 or shape[-1] == 1):
        pytest.skip("no such memory format")
    for got, want in zip(*[results(t, shape, how, mode, last) for t in (flambeau, torch)], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "bfloat16", "float16", "float64"])
def test_copies_of_any_dtype(dtype: str) -> None:
    made = []
    for t in (flambeau, torch):
        x = (t.arange(24) * 7 % 11).reshape(1, 2, 3, 4).to(getattr(t, dtype))
        views = (x, x[:, :, ::2, 1:], x.transpose(2, 3), x.to(memory_format=t.channels_last))
        made.append([t.nn.functional.interpolate(v, scale_factor=(2, 3)).double().tolist() for v in views])
    assert made[0] == made[1]


def test_derivatives() -> None:
    x = flambeau.randn(1, 2, 2, 3, dtype=flambeau.float64, requires_grad=True)
    for mode in ("nearest", "bilinear", "bicubic"):
        f = lambda v, mode=mode: flambeau.nn.functional.interpolate(v, scale_factor=2, mode=mode)
        assert gradcheck(f, (x,)) and gradgradcheck(f, (x,))


def test_tables_outlive_the_mode_they_are_made_in() -> None:
    """What a call without history has kept is saved for backward by the next; a captured call may use it."""
    resize = lambda v: flambeau.nn.functional.interpolate(v * 2, size=(11, 13), mode="bilinear")
    x = flambeau.randn(1, 1, 5, 6, requires_grad=True)
    with flambeau.inference_mode():
        plain = resize(x)
    resize(x).sum().backward()
    np.testing.assert_allclose(x.grad.sum().item(), 2 * 11 * 13, rtol=1e-5)
    captured = flambeau.compile(resize)
    for _ in range(4):
        again = captured(x.detach())
    assert again.tolist() == plain.tolist()
    batch = flambeau.func.vmap(lambda v: flambeau.nn.functional.interpolate(v, scale_factor=2))(
        x.detach()[None]
    )
    assert batch.tolist() == flambeau.nn.functional.interpolate(x.detach(), scale_factor=2)[None].tolist()
