"""vmap runs a function once for the whole batch: the results are those of one sample after the other."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import func, nn
from flambeau.func import batched, rules

F = nn.functional
B = 3


def of(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((B, *shape)).astype(np.float32))


def whole(*shape: int, seed: int = 1) -> Any:
    return of(*shape, seed=seed)[0]


def places(high: int, *shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(2).integers(0, high, (B, *shape)))


def positive(n: int) -> Any:
    a = of(n, n)
    return a @ a.transpose(1, 2) + n * torch.eye(n)


LSTM, GRU = nn.LSTMCell(4, 2), nn.GRUCell(4, 2)
# name -> (function of samples, batches). Whatever is not mentioned by a function of its own is in all of these.
CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "pointwise": (lambda x, y: torch.where(x > y, x.exp(), (y * 2 + 1).tanh()), (of(4), of(2, 4, seed=5))),
    "shared": (lambda x: x * whole(4, 5) + 1, (of(5),)),
    "scalars": (lambda x: x * whole(4).double(), (of(),)),
    "sums": (lambda x: (x.sum(), x.sum(0), x.mean((0, 2)), x.amax(-1), x.logsumexp(1)), (of(2, 3, 4),)),
    "spread": (lambda x: (x.var(), x.std(1), x.norm(), x.prod(1), x.any(), x.all(0)), (of(3, 4),)),
    "best": (lambda x: (x.max(), x.max(0), x.argmax(), x.argmin(1), x.argmax(keepdim=True)), (of(3, 4),)),
    "scans": (lambda x: (x.cumsum(0), x.cumprod(-1), x.cummax(1), x.logcumsumexp(0)), (of(3, 4),)),
    "ordered": (lambda x: (x.sort(0), x.topk(2, 1), x.median(), x.kthvalue(2, 0), x.argsort(1)), (of(3, 4),)),
    "softmax": (lambda x: (x.softmax(0), x.log_softmax(-1), F.glu(x, 1)), (of(3, 4),)),
    "moved": (
        lambda x: (x.T, x.flip(0), x.roll(1), x.roll(1, 1), x.tril(), x.diagonal(), x.diag()),
        (of(4, 4),),
    ),
    "views": (lambda x: (x[1], x[:, None, ::2], x[..., -1], x.reshape(-1), x.unfold(1, 2, 1)), (of(3, 4),)),
    "wider": (lambda x: (x.expand(2, 4), x.repeat(2, 1), x.unsqueeze(0).squeeze(), x.split(2)), (of(4),)),
    "joined": (lambda x, y: (torch.cat([x, y, whole(2, 4)]), torch.stack([x, x], -1)), (of(2, 4), of(3, 4))),
    "padded": (lambda x: (F.pad(x, (1, 2)), F.pad(x[None], (1, 1), mode="reflect")), (of(3, 4),)),
    "matmul": (
        lambda x, y: (x @ y, x @ whole(4, 5), whole(2, 3) @ x, x[0] @ y, x[0] @ x[1]),
        (of(3, 4), of(4, 2)),
    ),
    "added": (
        lambda x, y: (torch.addmm(whole(2), x, y), torch.addmm(x[:, :2], whole(3, 4), y)),
        (of(3, 4), of(4, 2)),
    ),
    "linear": (
        lambda x, w, b: (F.linear(x, w, b), F.linear(x, whole(5, 4), b), F.linear(whole(2, 4), w)),
        (of(2, 4), of(5, 4), of(5)),
    ),
    "einsum": (lambda x, y: torch.einsum("ij,kj->ik", x, y), (of(3, 4), of(2, 4))),
    "solved": (
        lambda a, b: (torch.linalg.inv(a), torch.linalg.solve(a, b), torch.linalg.cholesky(a), a.det()),
        (positive(3), of(3, 2)),
    ),
    "indexed": (
        lambda x, i: (x[i], x[:, i], x[i, i], x[[0, 2]], x.index_select(1, i), whole(4, 3)[i]),
        (of(4, 4), places(4, 3)),
    ),
    "put": (
        lambda x, i: (
            x.index_put((i,), whole(3, 4)),
            x.index_put((torch.arange(3), i), x[0, :3], accumulate=True),
        ),
        (of(4, 4), places(4, 3)),
    ),
    "gathered": (
        lambda x, i: (
            x.gather(1, i),
            x.scatter_add(0, i, x[:3, :2]),
            x.index_add(0, torch.tensor([0, 2]), x[:2]),
        ),
        (of(4, 4), places(4, 3, 2)),
    ),
    "embedding": (lambda w, i: (F.embedding(i, w), F.embedding(i, whole(6, 2))), (of(5, 3), places(5, 4))),
    "conv": (
        lambda x, w, b: (
            F.conv2d(x, whole(3, 2, 3, 3), padding=1),
            F.conv2d(x, w, b),
            F.conv1d(x[:, :, 0], w[:, :, 0]),
        ),
        (of(2, 2, 5, 5), of(3, 2, 3, 3), of(3)),
    ),
    "transposed": (
        lambda x, w: (F.conv_transpose2d(x, w, stride=2), F.conv_transpose2d(x, whole(2, 3, 2, 2))),
        (of(1, 2, 3, 3), of(2, 3, 2, 2)),
    ),
    "pools": (
        lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 1)),
        (of(2, 3, 4, 4),),
    ),
    "norms": (
        lambda x, w: (F.layer_norm(x, (4,), w), F.layer_norm(x, (4,), whole(4)), F.rms_norm(x, (4,), w)),
        (of(3, 4), of(4)),
    ),
    "groups": (
        lambda x, w: (F.group_norm(x, 2, w, w), F.group_norm(x, 2), F.instance_norm(x)),
        (of(2, 4, 5), of(4)),
    ),
    "batch_norm": (
        lambda x, w: (
            F.batch_norm(x, None, None, w, training=True),
            F.batch_norm(x, whole(4), whole(4).abs()),
        ),
        (of(6, 4), of(4)),
    ),
    "resized": (
        lambda x: (F.interpolate(x, scale_factor=2, mode="bilinear"), F.interpolate(x, size=2)),
        (of(1, 2, 3, 3),),
    ),
    "losses": (
        lambda x, y: (
            F.mse_loss(x, y),
            F.l1_loss(x, y, reduction="sum"),
            F.smooth_l1_loss(x, whole(3, 4)),
            F.kl_div(x, y.softmax(1), reduction="sum"),
        ),
        (of(3, 4), of(3, 4, seed=7)),
    ),
    "binary": (
        lambda x: F.binary_cross_entropy_with_logits(x, whole(3, 4).sigmoid(), pos_weight=whole(4).abs()),
        (of(3, 4),),
    ),
    "classes": (
        lambda x, y: (
            F.cross_entropy(x, y),
            F.nll_loss(x, y, ignore_index=0),
            F.cross_entropy(x[0], y[0]),
            F.cross_entropy(x, y, weight=whole(4).abs(), reduction="sum"),
        ),
        (of(5, 4), places(4, 5)),
    ),
    "attention": (lambda q, k: F.scaled_dot_product_attention(q, k, k), (of(2, 3, 4), of(2, 5, 4))),
    "masked": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, attn_mask=whole(3, 5)),
        (of(2, 2, 3, 4), of(2, 2, 5, 4)),
    ),
    "cells": (lambda x, h: (LSTM(x, (h, h)), GRU(x, h)), (of(2, 4), of(2, 2))),
    "fourier": (lambda x: (torch.fft.rfft(x).abs(), torch.fft.ifft2(torch.fft.fft2(x)).real), (of(3, 4),)),
    "one by one": (
        lambda x: (x.take(torch.tensor([0, 3])), torch.block_diag(x, x), x.renorm(2, 0, 1.0)),
        (of(3, 4),),
    ),
}


def flat(made: Any) -> list[Any]:
    return [made] if isinstance(made, torch.Tensor) else [t for part in made for t in flat(part)]


def same(got: Any, wanted: list[Any], tolerance: float = 1e-5) -> None:
    rows = [flat(w) for w in wanted]
    got = flat(got)
    assert len(got) == len(rows[0])
    for k, g in enumerate(got):
        w = torch.stack([r[k] for r in rows])
        assert (g.shape, g.dtype) == (w.shape, w.dtype), (k, g.shape, w.shape, g.dtype, w.dtype)
        np.testing.assert_allclose(
            g.detach().numpy(), w.detach().numpy(), tolerance, tolerance, err_msg=str(k)
        )


@pytest.mark.parametrize("name", CASES)
def test_the_batch_is_its_samples(name: str) -> None:
    fn, batches = CASES[name]
    wanted = [fn(*[b[i] for b in batches]) for i in range(B)]
    same(func.vmap(fn)(*batches), wanted)
    turned = [b.movedim(0, -1) for b in batches]
    same(func.vmap(fn, in_dims=-1)(*turned), wanted)


def loss_of(fn: Any) -> Any:
    def loss(*args: Any) -> Any:
        return sum((t * t).sum() for t in flat(fn(*args)) if t.is_floating_point())

    return loss


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_each_sample(name: str) -> None:
    fn, batches = CASES[name]
    grad = func.grad(loss_of(fn))
    wanted = [grad(*[b[i] for b in batches]) for i in range(B)]
    same(func.vmap(grad)(*batches), wanted, 2e-4)
    shared = [grad(batches[0][0], *[b[i] for b in batches[1:]]) for i in range(B)]
    if len(batches) > 1:  # a gradient of each sample's own by what all samples share
        same(
            func.vmap(grad, in_dims=(None, *[0] * (len(batches) - 1)))(batches[0][0], *batches[1:]),
            shared,
            2e-4,
        )


def test_nothing_common_is_done_one_by_one(monkeypatch: Any) -> None:
    """What users do per sample has a rule: the loop is for the rest."""
    asked: list[str] = []
    slow = rules.Call.one_by_one

    def seen(c: Any) -> Any:
        asked.append(c.entry.name)
        return slow(c)

    monkeypatch.setattr(rules.Call, "one_by_one", seen)
    for name, (fn, batches) in CASES.items():
        if name != "one by one":
            func.vmap(fn)(*batches)
    assert not asked
    func.vmap(CASES["one by one"][0])(*CASES["one by one"][1])
    assert asked


def test_the_function_runs_once() -> None:
    runs = []
    func.vmap(lambda x: runs.append(x) or x + 1)(of(2))
    assert len(runs) == 1 and runs[0].shape == (2,) and "BatchedTensor" in repr(runs[0])


def test_levels_within_levels() -> None:
    x, y = of(4), of(5, seed=9)
    outer = func.vmap(lambda a: func.vmap(lambda b: torch.outer(a, b).sum(1) + a)(y))(x)
    same(
        outer,
        [
            [torch.outer(a, b).sum(1) + a for b in y]
            and torch.stack([torch.outer(a, b).sum(1) + a for b in y])
            for a in x
        ],
    )
    hessians = func.vmap(func.hessian(lambda a: (a.sin() * a).sum()))(x)
    same(hessians, [torch.diag(2 * a.cos() - a * a.sin()) for a in x])
    jacobians = func.vmap(func.jacrev(lambda a: (a[:, None] * a).tanh()))(x)
    same(jacobians, [func.jacrev(lambda a: (a[:, None] * a).tanh())(a) for a in x])
    tangents = func.vmap(lambda v: func.jvp(torch.sin, (x[0],), (v,))[1])(x)
    same(tangents, [x[0].cos() * v for v in x])


def test_a_graph_from_outside_goes_through() -> None:
    w = whole(4, 4).requires_grad_()
    x = of(4).requires_grad_()
    func.vmap(lambda a: (w @ a).tanh().sum())(x).sum().backward()
    got = w.grad.clone(), x.grad.clone()
    w.grad = x.grad = None
    (x @ w.T).tanh().sum().backward()
    np.testing.assert_allclose(got[0].numpy(), w.grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1].numpy(), x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_leave_no_graph_behind() -> None:
    w, x = whole(4), of(4)
    made = func.vmap(func.grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))(w, x)
    assert not made.requires_grad


def test_writes() -> None:
    def fill(x: Any) -> Any:
        y = x.clone()
        y[0] = 7.0
        y[1:] += 1
        y.mul_(2)
        return y

    same(func.vmap(fill)(of(3)), [fill(x) for x in of(3)])
    shared = torch.zeros(3)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        func.vmap(lambda x: shared.add_(x))(of(3))
    assert not shared.any()


@pytest.mark.parametrize(
    "ask",
    [lambda x: x.item(), lambda x: x.sum() if x.sum() > 0 else x, lambda x: x.nonzero(), lambda x: float(x)],
)
def test_values_of_samples_are_not_there(ask: Any) -> None:
    with pytest.raises(RuntimeError, match="vmap"):
        func.vmap(ask)(of())
    assert batched.levels() == []


def test_random_numbers() -> None:
    x = torch.zeros(B, 1000)
    with pytest.raises(RuntimeError, match="randomness"):
        func.vmap(lambda a: a + torch.rand(1000))(x)
    for made in (lambda a: a + torch.rand(1000), lambda a: F.dropout(a + 1, 0.5), torch.rand_like):
        one = func.vmap(made, randomness="same")(x)
        each = func.vmap(made, randomness="different")(x)
        assert (one[0] == one[1]).all() and not (each[0] == each[1]).all()


def test_arguments() -> None:
    x = of(4)
    tree = func.vmap(lambda d: {"a": d["x"] + d["y"]}, in_dims=({"x": 0, "y": None},))(
        {"x": x, "y": whole(4)}
    )
    same(tree["a"], [a + whole(4) for a in x])
    assert func.vmap(lambda a: a, out_dims=1)(x).shape == (4, B)
    assert func.vmap(lambda a: torch.ones(2))(x).shape == (B, 2)
    same(func.vmap(lambda a: a.sum(), chunk_size=2)(x), [a.sum() for a in x])
    for wrong in (
        lambda: func.vmap(lambda a, b: a)(x, of(4)[:2]),
        lambda: func.vmap(lambda a: a, in_dims=None)(x),
        lambda: func.vmap(lambda a: 3)(x),
    ):
        with pytest.raises(ValueError, match="vmap"):
            wrong()


def test_an_ensemble() -> None:
    models = [nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(B)]
    params, _ = func.stack_module_state(models)
    x = whole(5, 4)
    made = func.vmap(lambda p, x: func.functional_call(models[0], p, (x,)), in_dims=(0, None))(params, x)
    same(made.detach(), [m(x).detach() for m in models])


def test_many_gradients_at_once() -> None:
    x = whole(4).requires_grad_()
    y = (x[:, None] * x).tanh().sum(0)
    rows = [torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in torch.eye(4)]
    (got,) = torch.autograd.grad(y, x, torch.eye(4), is_grads_batched=True, retain_graph=True)
    np.testing.assert_allclose(got.numpy(), torch.stack(rows).numpy(), rtol=1e-6)
    jacobian = torch.autograd.functional.jacobian
    f = lambda a, b: ((a[:, None] * b).sin(), a.sum())
    for slow, fast in zip(jacobian(f, (x, x)), jacobian(f, (x, x), vectorize=True)):
        for p, q in zip(slow, fast):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-5)
    chunks = func.jacrev(lambda a: (a[:, None] * a).sin(), chunk_size=3)(whole(4))
    np.testing.assert_allclose(
        chunks.numpy(), func.jacrev(lambda a: (a[:, None] * a).sin())(whole(4)).numpy(), rtol=1e-6
    )


def test_a_write_without_views_looks_at_nothing_else(monkeypatch: Any) -> None:
    """Looking for the views of a tensor goes through all objects of the process."""

    def asked(*objects: Any) -> Any:
        raise AssertionError("looked for views")

    x, w = torch.randn(6, 4), torch.randn(2, 4, requires_grad=True)
    index = torch.tensor([0, 1])
    for _ in range(3):  # the definition in Python, and builtins
        y, z = torch.zeros(6, 4), torch.zeros(2, 4)
        monkeypatch.setattr(gc, "get_referrers", asked)
        y.index_add_(0, index, w)
        z.add_(w).mul_(2)
        monkeypatch.undo()
        view = x.clone()
        part = view[0]
        view.index_add_(0, index, w)
        assert part.requires_grad


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_gradients_of_a_weight_lie_as_the_weight_does(shape: tuple[int, ...]) -> None:
    """Also one for each sample, of products by its transpose, and with the input and another batch inside."""
    weight, x = torch.randn(4, 5), torch.randn(6, *shape)

    def loss(weight: Any, x: Any) -> Any:
        return torch.nn.functional.linear(x, weight).square().sum()

    each = torch.func.grad(loss, (0, 1))
    found = torch.func.vmap(each, (None, 0))(weight, x)
    weights = torch.stack([weight, weight * 2])
    nested = torch.func.vmap(torch.func.vmap(each, (None, 0)), (0, None))(weights, x)
    assert found[0].is_contiguous() and nested[0].is_contiguous()
    for n in range(6):
        for got, want in zip(found, each(weight, x[n])):
            assert torch.allclose(got[n], want, atol=1e-4)
        for got, want in zip(nested, each(weights[1], x[n])):
            assert torch.allclose(got[1, n], want, atol=1e-4)


class _Wave(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, w):
        return x * x * w, w * 3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g, h):
        (x, w), (first, second) = ctx.saved_tensors, ctx.needs_input_grad
        return g * 2 * x * w if first else None, g * x * x + 3 * h if second else None


class _OwnRule(_Wave):
    @staticmethod
    def vmap(info, in_dims, x, w):
        assert info.batch_size == 3 and in_dims == (0, None)
        return _Wave.apply(x, w.expand(3, 4)), (0, 0)


@pytest.mark.parametrize("function", [_Wave, _OwnRule])
def test_functions_of_the_user_have_their_gradients(function):
    x, w = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def of(p, q):
        wave, thrice = function.apply(p, q)
        return (wave.sin() + thrice).sum()

    def plain(p, q):
        return ((p * p * q).sin() + q * 3).sum()

    for change in (
        lambda f: torch.func.vmap(f, in_dims=(0, None))(x, w),
        lambda f: torch.func.vmap(torch.func.grad(f), in_dims=(0, None))(x, w),
        lambda f: torch.func.grad(lambda q: torch.func.vmap(f, in_dims=(0, None))(x, q).sum())(w),
        lambda f: torch.func.jacrev(lambda p: torch.func.vmap(f, in_dims=(0, None))(p, w))(x),
        lambda f: torch.func.vmap(torch.func.hessian(f), in_dims=(0, None))(x, w),
        lambda f: torch.func.jvp(lambda p: torch.func.vmap(f, in_dims=(0, None))(p, w), (x,), (x,))[1],
    ):
        assert torch.allclose(change(of), change(plain), rtol=1e-9)


def test_functions_of_the_user_in_a_batch_of_batches():
    x, w = torch.randn(3, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)

    def twice(f):
        return torch.func.vmap(torch.func.vmap(f, in_dims=(0, None)), in_dims=(None, 0))(x, w)

    got = twice(torch.func.grad(lambda p, q: _Wave.apply(p, q)[0].sin().sum()))
    assert torch.allclose(got, twice(torch.func.grad(lambda p, q: (p * p * q).sin().sum())), rtol=1e-9)


@pytest.mark.parametrize(
    "write",
    [
        lambda s, v, at: s.index_add_(0, at, v),
        lambda s, v, at: s.index_copy_(0, at + torch.tensor([0, 1]), v),
        lambda s, v, at: s.index_put_((at,), v, accumulate=True),
        lambda s, v, at: s.index_fill_(0, at, 2.0),
        lambda s, v, at: s.scatter_add_(0, at, v),
        lambda s, v, at: s.scatter_(0, at + torch.tensor([0, 1]), v),
        lambda s, v, at: s.__setitem__(at + torch.tensor([0, 1]), v),
        lambda s, v, at: s.masked_fill_(s > 0, 0.5),
    ],
)
def test_gradients_of_what_is_written_at_places_of_samples(write):
    at, xs = torch.tensor([1, 1]), torch.randn(3, 5, dtype=torch.float64)

    def f(x):
        s = x.sin()
        write(s, (x * x)[:2], at)
        return (s * s).sum()

    got = torch.func.vmap(torch.func.grad(f))(xs)
    assert torch.allclose(got, torch.stack([torch.func.grad(f)(x) for x in xs]))


def _shifted(x):
    t = torch.zeros_like(x)
    t[1:] = x[:-1] * 2
    return t


def _longer(x):
    t = x.new_zeros(6)
    t[:5], t[5] = x, x.sum()
    return t


@pytest.mark.parametrize(
    "fn",
    [
        _shifted,
        _longer,
        lambda x: torch.empty_like(x).copy_(x).add_(torch.ones_like(x)),
        lambda x: torch.full_like(x, 3.0, dtype=torch.float32).mul_(x),
        lambda x: x.new_full((2,), 3.0).add_(x[:2]),
    ],
)
def test_what_is_made_like_a_sample_is_written_for_each(fn):
    xs = torch.randn(6, 5, dtype=torch.float64)

    def loss(x):
        return (fn(x) ** 2).sum()

    for change in (lambda f: f, lambda f: torch.func.grad(loss), lambda f: torch.func.hessian(loss)):
        want = torch.stack([change(fn)(x) for x in xs])
        assert torch.allclose(torch.func.vmap(change(fn))(xs), want)
        nested = torch.func.vmap(torch.func.vmap(change(fn)))(xs.view(2, 3, 5))
        assert torch.allclose(nested.flatten(0, 1), want)
