"""Same bits: op by op or fused, on any number of threads, by any schedule."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.loop.recipes import conv_planning
from flambeau.ops import record
from flambeau.stream import nests

Ways = Callable[[Callable[[], Any]], list[Any]]


def same(found: list[Any]) -> None:
    assert all(f == found[0] for f in found[1:])


def data(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, y: x.sum(),
    "mean and sum": lambda x, y: (x.mean(), (x * y).sum(), (x - y).abs().max()),
    "rows": lambda x, y: x.softmax(-1) * y,
    "columns": lambda x, y: (x - x.mean(0)) / (x.var(0) + 1),
    "both": lambda x, y: (x.sum(0), x.sum(1), y.amax(0)),
    "standard deviation": lambda x, y: (x.std(), x.argmax(), x.argmin(1)),
    "transposed": lambda x, y: (x.t().softmax(0), (x.t() + y.t()).sum(1)),
    "in place": lambda x, y: (x * 2).add_(y).mul_(y).sum(1),
    "row losses": lambda x, y: (x.logsumexp(1) - (x * y).sum(1)).mean(),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(3, 5), (64, 10), (10, 700), (300, 401)])
def test_reductions(each_way: Ways, name: str, shape: tuple[int, int]) -> None:
    x, y = data(*shape), data(*shape, seed=1)
    same(each_way(lambda: CASES[name](x, y)))


def test_long_reduction_is_split_over_parts(each_way: Ways) -> None:
    x = data(1_000_003)
    same(each_way(lambda: (x.sum(), x.max(), x.argmax(), (x * x).mean(), x.min())))


def test_long_reduction_over_several_axes(each_way: Ways) -> None:
    x = data(10, 90, 1000)
    same(each_way(lambda: (x.sum(), (x * 2).transpose(0, 2).sum())))


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "sums": lambda x: (x.sum(0), x.mean(0), x.amax(0), (x > -3).all(0), (x > 3).any(0)),
    "softmax": lambda x: (x.softmax(0), x.logsumexp(0)),
    "normalised": lambda x: (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt(),
    "whole": lambda x: ((x * 9).long().sum(0), x.double().prod(0)),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("shape", [(17, 64), (70, 200), (5, 37, 99), (33000, 65)])
def test_many_columns(name: str, shape: tuple[int, ...]) -> None:
    """Columns reduced row after row have the bits of the same numbers reduced as rows."""
    x = data(*shape)
    y = x.movedim(0, -1).contiguous().movedim(-1, 0)
    for a, b in zip(*(r if type(r) is tuple else (r,) for r in (COLUMNS[name](x), COLUMNS[name](y)))):
        assert (a.numpy() == b.numpy()).all()


FEW: dict[str, Callable[[Any], Any]] = {
    **{name: COLUMNS[name] for name in ("sums", "normalised", "whole")},
    "extrema": lambda x: (x.aminmax(dim=0), (x.amax(0) + x.sum(0), x.prod(0)), x.bfloat16().amin(0).float()),
    "counts": lambda x: (x.long().amax(0), (x > 0).sum(0), x.norm(dim=0), x.double().amin(0)),
    "stored": lambda x: ((y := x * 2 - 1), y.sum(0), y.amin(0)),
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize(
    "shape", [(1, 16), (2, 35), (12, 100), (16, 7, 20), (21, 64), (24, 3, 600), (47, 130)]
)
def test_few_rows(each_way: Ways, name: str, shape: tuple[int, ...]) -> None:
    """Columns of few elements, whose sums are in registers, have the bits of the same numbers reduced as rows."""
    x = data(*shape)
    flat = x.view(shape[0], -1)
    flat[0, 0], flat[:, 1], flat[-1, 2], flat[:, 3] = float("inf"), -0.0, -float("inf"), 0.0
    flat[shape[0] // 2, 3], flat[:, 4] = -0.0, 7.0
    y = x.movedim(0, -1).contiguous().movedim(-1, 0)
    found = each_way(lambda: FEW[name](x))
    same([*found, *each_way(lambda: FEW[name](y))])
    flat[shape[0] // 2, 5] = float("nan")
    assert all(
        r.flatten().isnan().nonzero().tolist() == [[5]] for r in (*x.aminmax(dim=0), x.double().amax(0))
    )


SHORT: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: (x.softmax(1), x.log_softmax(1), x.logsumexp(1)),
    "places": lambda x: (x.argmax(1), x.argmin(1), x.max(1), (x > 0).all(1)),
    "moments": lambda x: (x.sum(1), x.var(1), x.norm(dim=1), F.layer_norm(x, x.shape[1:])),
    "extrema": lambda x: (x.amax(1), x.double().aminmax(dim=1), x.bfloat16().amin(1).float(), x.prod(1)),
    "whole": lambda x: (
        (x * 9).long().sum(1),
        (x > 3).any(1),
        x.double().logsumexp(1),
        x.relu().int().amax(1),
    ),
    "stored": lambda x: ((y := x * 2 - 1), y.sum(1), y - y.mean(1, keepdim=True), y.double().softmax(1)),
}


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("n", [2, 5, 7, 12, 13, 21, 24, 25, 64, 100, 256])
def test_many_short_rows(name: str, n: int) -> None:
    """Many rows of few elements, 16 rows at a time, have the bits of a few of them, one after the other."""
    x = data(4 * 64 + 3, n)
    x[7, 1], x[8], x[100, 0], x[101] = float("nan"), float("inf"), -0.0, -float("inf")
    x[200, :2] = x[200, 1]
    flat = lambda found: [v for r in found for v in (r if isinstance(r, tuple) else (r,))]
    whole, parts = flat(SHORT[name](x)), [flat(SHORT[name](x[i : i + 7])) for i in range(0, 259, 7)]
    for k, values in enumerate(whole):
        assert values.numpy().tobytes() == b"".join(part[k].numpy().tobytes() for part in parts)


ZEROS = (0.0, -0.0)
EXTREMA: dict[str, Callable[[Any], Any]] = {
    "zeros": lambda rng: rng.choice(ZEROS, 40001),
    "few positive zeros": lambda rng: np.where(np.arange(40001) % 20000 == 777, 0.0, -0.0),
    "few negative zeros": lambda rng: np.where(np.arange(40001) % 20000 == 777, -0.0, 0.0),
    "zero at the top": lambda rng: np.minimum(rng.standard_normal(40001), rng.choice(ZEROS, 40001)),
    "zero at the bottom": lambda rng: np.maximum(rng.standard_normal(40001), rng.choice(ZEROS, 40001)),
    "NaN": lambda rng: np.where(np.arange(40001) == 333, np.nan, rng.standard_normal(40001)),
    "NaN with a sign": lambda rng: np.where(np.arange(40001) == 39999, -np.nan, rng.standard_normal(40001)),
    "infinite": lambda rng: rng.choice((-np.inf, np.inf), 40001),
    "all the least": lambda rng: np.full(40001, -np.inf),
}


@pytest.mark.parametrize("name", EXTREMA)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extrema_heed_nan_and_the_sign_of_zero(each_way: Ways, name: str, dtype: Any) -> None:
    a = EXTREMA[name](np.random.default_rng(0)).astype(dtype)
    for x in (a[:1], a[:37].copy(), a):
        t = torch.tensor(x)
        found = each_way(lambda: (t.amax(), t.amin(), t[None].amax(1), t[:, None].amax(0)))
        if np.isnan(x).any():
            assert all(np.isnan(f).all() for f in map(np.frombuffer, found[0], [dtype] * 4))
            continue
        same(found)
        zeros = x[x == 0]
        top, bottom, *others = (np.frombuffer(f, dtype)[0] for f in found[0])
        assert top == x.max() and bottom == x.min()
        assert top != 0 or np.signbit(top) == np.signbit(zeros).all()
        assert bottom != 0 or np.signbit(bottom) == np.signbit(zeros).any()
        assert all(o.tobytes() == top.tobytes() for o in others)


LOOKED_UP: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sums": lambda t, i, w: (F.embedding(i, t).sum(1), F.embedding(i, t).mean(1), F.embedding(i, t).amax(1)),
    "bags": lambda t, i, w: (F.embedding_bag(i, t, mode="sum"), F.embedding_bag(i, t, mode="mean")),
    "bags at offsets": lambda t, i, w: (
        F.embedding_bag(i.view(-1), t, torch.arange(0, i.numel(), 3), mode="sum"),
        F.embedding_bag(i.view(-1), t, torch.arange(0, i.numel(), 7), padding_idx=3),
    ),
    "weights": lambda t, i, w: (F.embedding(i, t) * w.unsqueeze(2)).sum(1),
    "soft": lambda t, i, w: F.embedding(i, t).softmax(1).sum(0),
    "both ends": lambda t, i, w: (
        F.embedding(i, t).sum(-1),
        t[i].sum((1, 2)),
        t.gather(0, i[:, :1] + t.long() * 0).sum(0),
    ),
}


@pytest.mark.parametrize("name", LOOKED_UP)
@pytest.mark.parametrize("shape", [(40, 16, 64), (7, 33, 16), (64, 5, 3), (1, 200, 17), (300, 1, 20)])
def test_rows_that_are_looked_up_are_reduced(each_way: Ways, name: str, shape: tuple[int, int, int]) -> None:
    count, length, size = shape
    table, weights = data(50, size), data(count, length, seed=1)
    i = torch.tensor(np.random.default_rng(2).integers(0, 50, (count, length)))
    if name == "both ends":
        table = table.abs().clamp(max=0.9)[: min(count, 50)]
        i = i % len(table)
        i, weights = i[: len(table)], weights[: len(table)]
    same(each_way(lambda: LOOKED_UP[name](table, i, weights)))


def test_schedules_agree() -> None:
    """The rows of a matrix summed along memory, and across it, are the same bits; so is one row alone."""
    x = data(33, 4000)
    rows = x.sum(1).numpy()
    columns = x.t().contiguous().sum(0).numpy()
    alone = np.array([x[i].sum().item() for i in range(33)], dtype=np.float32)
    assert rows.tobytes() == columns.tobytes() == alone.tobytes()


PRODUCTS: dict[str, Callable[..., Any]] = {
    "bias": lambda x, w, b, r: F.linear(x, w, b),
    "relu": lambda x, w, b, r: F.relu(F.linear(x, w, b)),
    "residual": lambda x, w, b, r: F.linear(x, w, b) * 0.5 + r,
    "kept": lambda x, w, b, r: (lambda h: (h, F.relu(h)))(F.linear(x, w)),
    "read twice": lambda x, w, b, r: (lambda h: (F.relu(h), h.sum(1)))(F.linear(x, w)),
    "mask": lambda x, w, b, r: torch.where(r > 0, x @ w.t(), b),
    "loss": lambda x, w, b, r: F.mse_loss(F.linear(x, w, b), r),
    "transposed": lambda x, w, b, r: (x @ w.t()).t() + 1,
    "into another": lambda x, w, b, r: r.clone().add_(x @ w.t()),
    "in place": lambda x, w, b, r: (x @ w.t()).mul_(2).add_(b),
    "two": lambda x, w, b, r: F.relu(x @ w.t() + r @ w + b[:1]) if w.shape[0] == w.shape[1] else x @ w.t(),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize(
    "m,k,n", [(1, 1, 1), (1, 7, 5), (5, 3, 1), (64, 20, 20), (33, 500, 17), (200, 30, 3)]
)
def test_products_with_what_follows(each_way: Ways, name: str, m: int, k: int, n: int) -> None:
    x, w, b, r = data(m, k), data(n, k, seed=1), data(n, seed=2), data(m, n, seed=3)
    same(each_way(lambda: PRODUCTS[name](x, w, b, r)))


@pytest.mark.parametrize("stride,padding,groups", [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_convolutions_with_what_follows(each_way: Ways, stride: int, padding: int, groups: int) -> None:
    x, w, b = data(3, 4, 11, 9), data(6, 4 // groups, 3, 3, seed=1), data(6, seed=2)

    def run() -> Any:
        y = F.conv2d(x, w, b, stride=stride, padding=padding, groups=groups)
        return F.relu(y), torch.tanh(F.conv2d(x, w, None, stride, padding, 1, groups))

    same(each_way(run))


@pytest.mark.parametrize("stride,size", [(1, 16), (2, 32), (2, 31)])
def test_tiles_of_winograd_with_what_follows(each_way: Ways, stride: int, size: int) -> None:
    x, w, b = data(3, 48, size, size), data(96, 48, 3, 3, seed=1), data(96, seed=2)
    g = conv_planning.geometry(x.shape, w.shape, [stride] * 2, [1] * 2, [1] * 2)
    assert conv_planning.by_winograd("forward", g, "f32") is not None

    def run() -> Any:
        y = F.batch_norm(F.conv2d(x, w, b, stride, 1), b, b.abs() + 1, b * 2, b - 1)
        return F.relu(y), y.sum(1)

    same(each_way(run))


def test_gradients_of_a_convolutionby_winograd_with_a_stride() -> None:
    """Also of its gradients; float64 goes by the direct form."""
    found = []
    for dtype in (torch.float32, torch.float64):
        x = data(3, 48, 32, 31).to(dtype).requires_grad_()
        w, b = data(96, 48, 3, 3, seed=1).to(dtype).requires_grad_(), data(96).to(dtype).requires_grad_()
        y = F.conv2d(x, w, b, 2, 1)
        first = torch.autograd.grad(y.sin().sum() + (y * y).sum(), (x, w, b), create_graph=True)
        second = torch.autograd.grad(sum(f.square().mean() for f in first), (x, w, b))
        found.append([v.detach().double().numpy() for v in (y, *first, *second)])
    for got, want in zip(*found, strict=True):
        assert np.abs(got - want).max() <= 2e-5 * np.abs(want).max()


def test_three_dimensions_and_batches(each_way: Ways) -> None:
    x, w, b, r = data(2, 5, 8), data(3, 8, seed=1), data(3, seed=2), data(2, 5, 3, seed=3)
    y, z = data(4, 6, 7), data(4, 7, 5, seed=1)
    same(each_way(lambda: (F.relu(F.linear(x, w, b) + r), torch.bmm(y, z) * 2 + 1)))


def test_training_step(each_way: Ways) -> None:
    x, t = data(16, 12), torch.tensor(np.arange(16) % 5)
    first, second = data(20, 12, seed=1), data(5, 20, seed=2)

    def run() -> Any:
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        loss = F.cross_entropy(F.linear(F.gelu(F.linear(x, a)), b), t)
        return (loss, *torch.autograd.grad(loss, (a, b)))

    same(each_way(run))


STEPS: list[Callable[[list[Any], random.Random], Any]] = [
    lambda v, r: r.choice(v) + r.choice(v),
    lambda v, r: r.choice(v) * r.choice(v),
    lambda v, r: r.choice(v).t().contiguous().t(),
    lambda v, r: r.choice(v).softmax(r.choice((0, 1))),
    lambda v, r: r.choice(v) - r.choice(v).mean(r.choice((0, 1)), keepdim=True),
    lambda v, r: r.choice(v) * r.choice(v).amax((0, 1)),
    lambda v, r: (r.choice(v) @ r.choice(v)) * 0.1,
    lambda v, r: F.relu(r.choice(v) @ r.choice(v).t()) * 0.1,
    lambda v, r: r.choice(v).t() * 0.5,
    lambda v, r: torch.where(r.choice(v) > 0, r.choice(v), r.choice(v)),
    lambda v, r: r.choice(v)[3:4] + r.choice(v)[:, 2:3],
]


def step(values: list[Any], r: random.Random) -> None:
    kind = r.random()
    if kind < 0.2:
        r.choice(values).mul_(0.5).add_(r.choice(values))
    elif kind < 0.3:
        r.choice(values)[1:5] = r.choice(values)[2:6] * 2
    elif kind < 0.4:
        r.choice(values)[:, 3].add_(1)
    else:
        values.append(r.choice(STEPS)(values, r))
    if len(values) > 4 and r.random() < 0.5:
        values.pop(r.randrange(len(values)))


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(each_way: Ways, seed: int) -> None:
    def run() -> Any:
        r = random.Random(seed)
        values = [data(9, 9, seed=seed + 100 * k) * 0.3 for k in range(3)]
        for _ in range(r.randrange(4, 25)):
            step(values, r)
        return values

    same(each_way(run))


def complex_(*shape: int, seed: int = 0) -> Any:
    return torch.complex(data(*shape, seed=seed), data(*shape, seed=seed + 1))


BUNDLES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "complex": lambda z, w, x: (z * w + z, (z + w).abs(), z.conj() * 2.5, (z / w).real, z.exp().angle()),
    "complex in place": lambda z, w, x: z.clone().mul_(w).add_(z),
    "complex parts": lambda z, w, x: (z.clone().real.mul_(w.imag), torch.view_as_real(z * w)[..., 1] + x),
    "complex sums": lambda z, w, x: (z.sum(0), z.sum(1), z.sum(), (z * w).mean(0), (z * w).sum(1)),
    "complex views": lambda z, w, x: ((z.t() * w.t()), z[1:] * w[:-1], (z[:, ::2] + w[:, ::2]).flip(1)),
    "stacked": lambda z, w, x: [torch.stack([x + k for k in range(n)], -1) for n in (2, 3, 5)],
    "repeated": lambda z, w, x: [x.repeat_interleave(n, 1) for n in (2, 3, 4, 9)],
    "rotated": lambda z, w, x: torch.stack([-x[..., 1::2], x[..., : x.shape[1] // 2 * 2 : 2]], -1),
}


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("shape", [(3, 5), (40, 37), (300, 130), (0, 4)])
def test_neighbours_for_each_lane(each_way: Ways, name: str, shape: tuple[int, int]) -> None:
    if name == "rotated" and shape[1] % 2:
        shape = (shape[0], shape[1] + 1)
    z, w, x = complex_(*shape), complex_(*shape, seed=5), data(*shape)
    same(each_way(lambda: BUNDLES[name](z, w, x)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.bool_])
@pytest.mark.parametrize("c", [1, 3, 8, 9])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (37, 41)])
def test_channels_first_and_last(dtype: Any, c: int, size: tuple[int, int]) -> None:
    """Pictures from one layout to the other, whole and as views, with what is computed on the way."""
    a = np.random.default_rng(0).integers(0, 200, (3, *size, c)).astype(dtype)
    t, u = torch.tensor(a), torch.tensor(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))
    assert np.array_equal(t.permute(0, 3, 1, 2).contiguous().numpy(), a.transpose(0, 3, 1, 2))
    assert np.array_equal(u.permute(0, 2, 3, 1).contiguous().numpy(), a)
    assert np.array_equal(t[1:, 1:].permute(0, 3, 1, 2).contiguous().numpy(), a[1:, 1:].transpose(0, 3, 1, 2))
    assert np.array_equal(u[:, :, :, ::2].permute(0, 2, 3, 1).contiguous().numpy(), a[:, :, ::2])
    scale = torch.arange(c, dtype=torch.float32).view(1, c, 1, 1)
    found = (t.permute(0, 3, 1, 2).float() * scale + 1).contiguous()
    want = a.transpose(0, 3, 1, 2).astype(np.float32) * np.arange(c, dtype=np.float32)[:, None, None] + 1
    assert np.array_equal(found.numpy(), want)
    into = torch.zeros(u.shape)
    into.copy_(t.permute(0, 3, 1, 2)).mul_(scale)
    assert np.array_equal(into.numpy() + 1, want)


@pytest.mark.parametrize("shape", [(70, 320), (64, 300), (33, 17, 96), (300, 64)])
def test_results_around_the_caches(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    """Rows, transposed tiles and views, as large results are written: the bits of small ones."""
    x = data(*shape)

    def results() -> list[bytes]:
        turned = x.transpose(-1, -2)
        found = [turned.contiguous(), turned * 2 + 1, x.flip(-1), x.repeat(*[2] * x.ndim), x + x[..., :1]]
        z = torch.complex(x, x + 1)
        found += [torch.view_as_real(z * z), x[..., :3].transpose(-1, -2).contiguous()]
        found += [torch.stack([x, x], -1), x[..., 1:] * 2, x.permute(*reversed(range(x.ndim))).contiguous()]
        return [y.numpy().tobytes() for y in found]

    want = results()
    monkeypatch.setattr(nests, "AROUND", 1024)
    monkeypatch.setattr(nests, "ACROSS", 1024)
    record.forget_programs()
    try:
        assert results() == want
    finally:
        record.forget_programs()
