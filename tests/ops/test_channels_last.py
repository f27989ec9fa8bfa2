"""Images with their channels innermost in memory: the order is handed on as in PyTorch, the numbers are those of
row-major images."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.nn.formulas.spatial import _walk
from flambeau.stream.nests import NestBuilder

LAST = torch.channels_last


def image(*shape: int, last: bool = True, seed: int = 0, dtype: Any = torch.float32) -> Any:
    x = torch.tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype)
    return x.to(memory_format=LAST) if last else x


def innermost(*shape: int) -> tuple[int, ...]:
    _, c, h, w = shape
    return (h * w * c, 1, w * c, c)


CONVOLUTIONS = [
    ((2, 8, 9, 7), (16, 8, 3, 3), {"padding": 1}),
    ((3, 32, 8, 9), (32, 32, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 18, 8, 8), (20, 18, 1, 1), {}),
    ((2, 16, 9, 8), (24, 16, 1, 1), {"stride": 2}),
    ((2, 19, 8, 9), (19, 1, 3, 3), {"padding": 1, "groups": 19}),
    ((2, 40, 9, 9), (40, 1, 3, 3), {"padding": 1, "groups": 40, "stride": 2}),
    ((2, 5, 9, 12), (5, 1, 5, 3), {"padding": (2, 3), "groups": 5, "dilation": 2}),
    ((2, 6, 8, 8), (12, 1, 3, 3), {"groups": 6}),
    ((2, 8, 6, 5), (6, 4, 3, 2), {"groups": 2}),
    ((2, 64, 12, 12), (48, 64, 3, 3), {"padding": 1}),
    ((1, 1, 5, 5), (4, 1, 3, 3), {}),
    ((2, 3, 5, 5), (4, 3, 5, 5), {}),
]


def gradients(fn: Callable[..., Any], *given: Any) -> list[Any]:
    """The result of fn and the gradients of what it is given."""
    leaves = [t.detach().requires_grad_() for t in given]
    y = fn(*leaves)
    weight = torch.arange(y.numel()).reshape(y.shape).to(y.dtype).cos()
    (y * weight).sum().backward()
    return [y.detach(), *[t.grad for t in leaves]]


@pytest.mark.parametrize("x, w, options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("which", [1, 2, 3], ids=["input", "weight", "both"])
def test_convolution(x: Any, w: Any, options: Any, which: int) -> None:
    given = [image(*x, last=False), image(*w, last=False, seed=1), torch.arange(w[0]).float()]
    turned = [t.to(memory_format=LAST) if which >> k & 1 else t for k, t in enumerate(given[:2])] + given[2:]

    def fn(x: Any, w: Any, b: Any) -> Any:
        return F.conv2d(x, w, b, **options)

    want, got = gradients(fn, *given), gradients(fn, *turned)
    assert got[0].stride() == innermost(*got[0].shape)
    for t, g in zip(turned, got[1:]):
        assert all(n == 1 or s == t for n, s, t in zip(t.shape, t.stride(), g.stride()))
    for a, b in zip(want, got):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def some(seed: int) -> tuple[Any, Any, dict[str, Any], Any]:
    """A convolution, or its transpose, of any shape and dtype."""
    r = random.Random(seed)
    dims, groups, turned = r.choice([2, 2, 2, 3]), r.choice([1, 1, 1, 2, 4]), r.random() < 0.3
    cout, cin = (groups * r.choice(c) for c in ([4, 16, 17, 20, 32, 64], [3, 8, 16, 19, 32, 64]))
    taps = [3] * dims if r.random() < 0.5 else [r.choice([2, 3, 4, 5]) for _ in range(dims)]
    options = {"stride": r.randint(1, 3), "padding": r.randint(0, 1), "dilation": r.choice([1, 1, 2])}
    size = [options["dilation"] * (k - 1) + 1 + r.randint(0, 14 if dims == 2 else 3) for k in taps]
    w = (cin, cout // groups, *taps) if turned else (cout, cin // groups, *taps)
    name = ("conv_transpose" if turned else "conv") + f"{dims}d"
    dtype = r.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16])
    given = [image(r.randint(1, 4), cin, *size, last=False, dtype=dtype)]
    given += [image(*w, last=False, dtype=dtype, seed=1), image(cout, last=False, dtype=dtype, seed=2)]
    options["groups"] = groups
    return getattr(F, name), given, options, LAST if dims == 2 else torch.channels_last_3d


@pytest.mark.parametrize("seed", range(24))
def test_convolutions_have_the_bits_of_row_major_images(seed: int) -> None:
    """The result and all gradients; where one tap or depthwise kernels sum in another order they have tests above."""
    op, given, options, order = some(seed)

    def fn(*given: Any) -> Any:
        return op(*given, **options)

    want = gradients(fn, *given)
    for both in (False, True):
        turned = [t.to(memory_format=order) if k < 1 + both else t for k, t in enumerate(given)]
        for a, b in zip(want, gradients(fn, *turned)):
            assert np.array_equal(a.double().numpy(), b.double().numpy()), options


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradient_of_the_bias_beside_that_of_the_weights(dtype: Any) -> None:
    """Both read the gradient of the output in float32, one in its own order and one row-major."""
    given = [image(2, 6, 5, 7, dtype=dtype), image(8, 6, 3, 3, dtype=dtype, seed=1)]
    x, w, b = [t.requires_grad_() for t in (*given, torch.zeros(8, dtype=dtype))]
    y = F.conv2d(x, w, b)
    grad = image(*y.shape, dtype=dtype, seed=2)
    y.backward(grad)
    want = grad.double().sum((0, 2, 3))
    assert np.allclose(b.grad.double().numpy(), want.numpy(), rtol=1e-2, atol=1e-2)


def test_filled_like_another() -> None:
    x = image(2, 6, 5, 7)
    for name, value in (("zeros_like", 0), ("ones_like", 1)):
        y = getattr(torch, name)(x)
        assert y.stride() == x.stride() and bool((y == value).all())
        assert getattr(torch, name)(x, memory_format=torch.contiguous_format).is_contiguous()
        assert getattr(torch, name)(x, requires_grad=True).is_leaf
    y = torch.full_like(x.transpose(0, 2), 2.5, dtype=torch.float64)
    assert y.stride() == x.transpose(0, 2).stride() and bool((y == 2.5).all()) and y.dtype is torch.float64


def test_filled_like_another_in_a_captured_call() -> None:
    """In that order too, and in memory of each call's own."""
    x = image(2, 6, 5, 7)
    step = torch.compile(lambda x: torch.ones_like(x))
    for _ in range(3):
        y = step(x)
        assert y.stride() == x.stride() and bool((y == 1).all())
        y.zero_()


def test_filled_like_what_a_body_was_given() -> None:
    """The gradient of an empty diagonal, whose values lie apart: no memory is taken while a body is traced."""
    x, y = torch.zeros(10, 10, 10, requires_grad=True), torch.zeros(10, 8, requires_grad=True)
    made = torch.diagonal_scatter(x, y, 2, 0, 1)
    found = torch.autograd.grad(made.sum(), (x, y))
    assert float(found[0].sum()) == 1000 - 80 and float(found[1].sum()) == 80


def test_volumes_that_are_resized() -> None:
    x = torch.arange(2 * 3 * 2 * 3 * 4).float().reshape(2, 3, 2, 3, 4)
    last = x.to(memory_format=torch.channels_last_3d)
    for mode in ("nearest", "trilinear"):
        y, z = (F.interpolate(v, scale_factor=2, mode=mode) for v in (x, last))
        assert z.is_contiguous(memory_format=torch.channels_last_3d) and torch.equal(y, z)


@pytest.mark.parametrize("x, w, options", [c for c in CONVOLUTIONS if c[1][0] < 32], ids=str)
def test_gradients_of_convolution(x: Any, w: Any, options: Any) -> None:
    """First and second order, against differences."""
    channels = w[1] * options.get("groups", 1)
    few = [image(1, channels, 5, 5, dtype=torch.float64), image(*w, seed=1, dtype=torch.float64)]
    given = [t.requires_grad_() for t in few]

    def fn(x: Any, w: Any) -> Any:
        return F.conv2d(x, w, **options)

    assert torch.autograd.gradcheck(fn, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, given, fast_mode=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"stride": 3, "output_padding": 2}, {"groups": 4}],
    ids=str,
)
def test_transposed_convolution(options: Any) -> None:
    given = [image(2, 8, 5, 6, last=False), image(8, 3, 3, 3, last=False, seed=1)]

    def fn(x: Any, w: Any) -> Any:
        return F.conv_transpose2d(x, w, **options)

    want, got = gradients(fn, *given), gradients(fn, given[0].to(memory_format=LAST), given[1])
    assert got[0].stride() == innermost(*got[0].shape)
    assert got[1].stride() == innermost(2, 8, 5, 6)
    for a, b in zip(want, got):
        assert np.allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-4)
    leaves = [image(1, 4, 3, 3, dtype=torch.float64), image(4, 2, 3, 3, dtype=torch.float64)]
    few = {**options, "groups": min(options.get("groups", 1), 2)}

    def check(x: Any, w: Any) -> Any:
        return F.conv_transpose2d(x, w, **few)

    assert torch.autograd.gradgradcheck(check, [t.requires_grad_() for t in leaves], fast_mode=True)


HANDED_ON: dict[str, Callable[[Any], Any]] = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool in tiles": lambda x: F.max_pool2d(x, 2),
    "max_pool dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 3),
    "max_pool up": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool inside": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg_pool in tiles": lambda x: F.avg_pool2d(x, 4),
    "avg_pool given": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive average of all": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest by less": lambda x: F.interpolate(x, size=(5, 13), mode="nearest-exact"),
    "nearest of the same size": lambda x: F.interpolate(x, size=(8, 12)),
    "bilinear": lambda x: F.interpolate(x, size=(5, 13), mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, size=(5, 13), mode="bicubic"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "reflect": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "cat along rows": lambda x: torch.cat([x, x * 2], 2),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "batch_norm in evaluation": lambda x: F.batch_norm(x, torch.zeros(6), torch.ones(6)),
    "group_norm": lambda x: F.group_norm(x, 3),
    "relu": lambda x: x.relu(),
}


@pytest.mark.parametrize("name", HANDED_ON)
def test_order_is_handed_on(name: str) -> None:
    fn, x = HANDED_ON[name], image(2, 6, 8, 12, last=False)
    want, got = gradients(fn, x), gradients(fn, x.to(memory_format=LAST))
    assert want[0].is_contiguous() and want[1].is_contiguous()
    assert got[0].stride() == innermost(*got[0].shape)
    assert got[1].stride() == innermost(*x.shape)
    for a, b in zip(want, got):
        assert np.allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=2e-6 * float(a.abs().max()))
    leaf = image(1, 6, 8, 8, dtype=torch.float64)
    if name != "batch_norm in evaluation":
        assert torch.autograd.gradcheck(fn, [leaf.requires_grad_()], fast_mode=True)
        assert torch.autograd.gradgradcheck(fn, [leaf.requires_grad_()], fast_mode=True)


def test_positions_of_maxima() -> None:
    x = image(2, 6, 8, 12, last=False).round()
    x[0, 0, 0, 0], x[1, 3, 4, 5] = float("nan"), float("-inf")
    for options in ({"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2}):
        want = F.max_pool2d(x, **options, return_indices=True)
        got = F.max_pool2d(x.to(memory_format=LAST), **options, return_indices=True)
        assert got[1].stride() == innermost(*got[1].shape)
        for a, b in zip(want, got):
            assert np.array_equal(a.numpy(), b.numpy(), equal_nan=a.dtype.is_floating_point)


def test_cat_of_two_orders_is_row_major() -> None:
    x = image(2, 6, 4, 4)
    assert torch.cat([x, x.contiguous()], 1).is_contiguous()


def test_extents_of_one() -> None:
    """Strides say which order it is, where elements lie the same in both."""
    x = image(2, 6, 1, 1)
    assert x.stride() == (6, 1, 6, 6)
    assert torch.zeros(2, 6, 1, 1).mul(2).stride() == (6, 1, 1, 1)
    for n in (2, 3, 4, 5):  # forms of further extents are derived from those of the first ones
        assert image(n, 2 * n, 1, 1).stride() == (2 * n, 1, 2 * n, 2 * n)
        assert image(n, 2 * n, 1, 1, last=False).mul(2).stride() == (2 * n, 1, 1, 1)
    assert F.conv2d(x, image(3, 6, 1, 1, last=False)).stride() == (3, 1, 3, 3)
    assert x.contiguous() is x and torch.zeros(2, 6, 1, 1).contiguous(memory_format=LAST).stride() == (
        6,
        1,
        1,
        1,
    )


def test_gradient_lies_as_its_leaf() -> None:
    x = image(2, 6, 4, 5).requires_grad_()
    (x.detach().contiguous() * x).sum().backward()
    assert x.grad.stride() == x.stride()
    x = image(2, 6, 4, 5, last=False).requires_grad_()
    x.to(memory_format=LAST).relu().sum().backward()
    assert x.grad.is_contiguous()
    gaps = torch.zeros(2, 6, 4, 10)[..., ::2].requires_grad_()
    (gaps * 2).sum().backward()
    assert gaps.grad.is_contiguous()


def test_captured() -> None:
    """A model in that order, its training step as a program of its own: as it is without."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 16, 3, padding=1, groups=16),
            torch.nn.Conv2d(16, 24, 1),
        ).to(memory_format=LAST)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = image(4, 3, 8, 8)

        def step(x: Any = x, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            y = model(x)
            y.square().mean().backward()
            optimizer.step()
            return y

        run = torch.compile(step) if compiled else step
        for _ in range(4):
            y = run()
        assert y.stride() == innermost(*y.shape)
        for p in model.parameters():
            assert p.grad.stride() == p.stride()
        results.append([y.detach().numpy(), *[p.detach().numpy() for p in model.parameters()]])
    for a, b in zip(*results):
        assert np.array_equal(a, b)


MOVES: dict[str, Callable[[Any], Any]] = {
    "flip": lambda x: x.flip(-1),
    "flip of channels": lambda x: x.flip(1, 2),
    "roll": lambda x: torch.roll(x, 2, -1),
    "roll of channels": lambda x: torch.roll(x, (1, -2), (1, 2)),
    "glu": lambda x: F.glu(x, 1),
    "stack": lambda x: torch.stack([x, x * 2], 1).flatten(1, 2),
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("create", [False, True])
def test_elements_moved(name: str, sliced: bool, create: bool) -> None:
    """Values, order in memory and gradients; of images, and of some channels of wider ones."""
    wide = image(2, 12, 4, 6, seed=3)
    found = []
    for last in (False, True):
        x = (wide if last else wide.contiguous()).detach().requires_grad_()
        y = MOVES[name](x[:, 2:10] if sliced else x)
        assert y.stride() == (innermost(*y.shape) if last else y.contiguous().stride())
        g = image(*y.shape, last=last, seed=4)
        (dx,) = torch.autograd.grad(y, x, g, create_graph=create)
        assert sliced or create or dx.stride() == x.stride()
        found.append((y, dx))
    for a, b in zip(*found):
        assert torch.equal(a, b)


def test_a_stack_is_a_view_of_what_is_joined() -> None:
    """PyTorch's strides."""
    x, one = image(2, 8, 6, 6), image(1, 8, 6, 6)
    assert [torch.stack([x, x], d).stride() for d in range(5)] == [
        (576, 288, 1, 48, 8),
        (576, 8, 1, 96, 16),
        (576, 1, 288, 48, 8),
        (576, 1, 96, 48, 8),
        (576, 72, 12, 2, 1),
    ]
    assert torch.stack([one, one]).stride() == (288, 8, 1, 48, 8)


@pytest.mark.parametrize("taps, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (5, 5, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradient_of_maxima(taps: int, stride: int, padding: int, dtype: Any) -> None:
    """Also of equal elements, and of windows that overlap."""
    x = (image(2, 17, 11, 9, dtype=torch.float64) * 2).round().to(dtype)
    found = [gradients(lambda v: F.max_pool2d(v, taps, stride, padding), t) for t in (x.contiguous(), x)]
    for a, b in zip(*found):
        assert torch.equal(a, b)


ANYHOW: dict[str, Callable[..., Any]] = {
    "amax": lambda x, **dim: x.amax(**dim),
    "amin": lambda x, **dim: x.amin(**dim),
    "any": lambda x, **dim: (x > 1.5).any(**dim),
    "all": lambda x, **dim: (x < 1.5).all(**dim),
    "sum of integers": lambda x, **dim: x.nan_to_num().long().sum(**dim),
}


@pytest.mark.parametrize("name", ANYHOW)
@pytest.mark.parametrize("dims", [None, (0, 2, 3), (2, 3), (1, 2), (0, 3)])
def test_reductions_whose_order_is_free(name: str, dims: Any) -> None:
    """Values of row-major images, also of NaN and zeros of both signs."""
    x = image(3, 5, 7, 6, seed=2)
    x[0, 1, 2, 3], x[2, 0] = float("nan"), -0.0
    x[2, 0, 1, 1] = 0.0
    dim = {} if dims is None else {"dim": dims}
    want, got = (ANYHOW[name](t, **dim) for t in (x.contiguous(), x))
    assert np.array_equal(want.numpy(), got.numpy(), equal_nan=want.is_floating_point())
    if want.is_floating_point():
        assert np.array_equal(np.signbit(want.numpy()), np.signbit(got.numpy()))


def kernels(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The extents of each kernel that is made from now on."""
    seen: list[tuple[int, ...]] = []
    finish = NestBuilder.finish

    def spied(builder: Any, *given: Any) -> Any:
        bound = finish(builder, *given)
        seen.append(bound.extents)
        return bound

    monkeypatch.setattr(NestBuilder, "finish", spied)
    return seen


def test_gradients_of_group_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sums of the gradient are one kernel, and those of weight and bias have all channels as lanes."""
    x, g = image(3, 24, 7, 5), image(3, 24, 7, 5, seed=1)
    w, b = torch.arange(24.0, requires_grad=True), torch.zeros(24, requires_grad=True)
    found = []
    for t in (x.contiguous(), x):
        t = t.detach().requires_grad_()
        y = F.group_norm(t, 6, w, b)
        y.detach().numpy()
        seen = kernels(monkeypatch)
        found.append(torch.autograd.grad(y, (t, w, b), g))
        torch.synchronize()
    whole = [e for e in seen if math.prod(e) == x.numel()]
    assert whole == [(3, 24, 35), (3, 35, 24), (24, 3, 35), (24, 3, 35)]
    assert found[1][0].stride() == x.stride()
    for a, c in zip(*found):
        assert np.allclose(a.numpy(), c.numpy(), rtol=1e-4, atol=1e-5)


def test_an_order_that_is_free_is_that_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """All elements, or all positions, are one axis; sums of floats keep the order of row-major images."""
    seen = kernels(monkeypatch)
    x = image(3, 11, 13, 6)
    float(x.amax())
    assert seen[-1] == (3 * 11 * 13 * 6,)
    x.amax((2, 3)).numpy()
    assert seen[-1] == (3, 11, 13 * 6)
    seen.clear()
    assert float(x.sum()) == float(x.contiguous().sum())
    assert (3 * 11 * 13 * 6,) in seen and (3, 11, 13, 6) not in seen


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("how", [0.5, 1 / 3, 1, 2, (1.0, 3.0), 1.5, (7, 4), (1, 1)], ids=str)
def test_nearest(mode: str, how: Any) -> None:
    """By views and one copy where places are repeated or left out in step, else by index: as row-major images."""
    x = image(2, 5, 9, 8)
    size = type(how) is tuple and type(how[0]) is int
    options: dict[str, Any] = {"size" if size else "scale_factor": how, "mode": mode}
    y, want = F.interpolate(x, **options), F.interpolate(x.contiguous(), **options)
    assert torch.equal(y, want) and y.is_contiguous(memory_format=LAST)
    y.zero_()
    assert bool(x.any())  # memory of its own


ROW_MAJOR: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: x.softmax(1),
    "softmax of rows": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(1),
    "softmin": lambda x: F.softmin(x, 1),
    "logsigmoid": F.logsigmoid,
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.5),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, x * 2),
}
AS_IMAGES: dict[str, Callable[[Any], Any]] = {
    "batch_norm": lambda x: F.batch_norm(x, None, None, None, None, True),
    "batch_norm of statistics": lambda x: F.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3))),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:]),
}


def turned(*shape: int) -> Any:
    """Images whose memory runs along another axis than either order of images."""
    n, c, h, w = shape
    return image(h, n, w, c, last=False).permute(1, 3, 0, 2)


@pytest.mark.parametrize("name", [*ROW_MAJOR, *AS_IMAGES])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 20, 24, 17)], ids=str)
@pytest.mark.parametrize("make", [image, turned])
def test_results_that_are_row_major(name: str, shape: Any, make: Callable[..., Any]) -> None:
    fn = {**ROW_MAJOR, **AS_IMAGES}[name]
    x, plain = make(*shape), make(*shape).contiguous()
    found, expected = fn(x), fn(plain)
    last = name in AS_IMAGES and make is image
    assert found.stride() == (innermost(*shape) if last else expected.stride())
    assert found.numpy().tobytes() == expected.numpy().tobytes()
    for a, b in zip(gradients(fn, x), gradients(fn, plain)):
        assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("name", ["avg_pool3d", "adaptive_avg_pool3d", "adaptive_max_pool3d"])
@pytest.mark.parametrize("size", [2, 3])
def test_means_of_volumes_are_row_major(name: str, size: int) -> None:
    plain = torch.tensor(np.random.default_rng(0).standard_normal((2, 20, 4, 6, 6)), dtype=torch.float32)
    x = plain.to(memory_format=torch.channels_last_3d)
    fn = getattr(F, name)
    found, expected = fn(x, size), fn(plain, size)
    assert found.is_contiguous() and found.numpy().tobytes() == expected.numpy().tobytes()
    assert F.max_pool3d(x, size).is_contiguous(memory_format=torch.channels_last_3d)


def test_chosen_images_keep_their_order() -> None:
    """The strides are PyTorch's."""
    x, at = image(4, 20, 6, 5), torch.tensor([3, 1])
    assert x[at].stride() == innermost(2, 20, 6, 5)
    assert x[:, at].stride() == (60, 30, 5, 1) and x[:, :, at].stride() == (200, 1, 20, 40)
    assert x[at, at].stride() == (30, 5, 1) and x[at, :, at].stride() == (100, 1, 20)
    for index in ((at,), (slice(None), at), (at, at), (at, slice(None), at)):
        assert x[index].tolist() == x.contiguous()[index].tolist()


def test_what_is_turned_after_a_reduction_has_a_kernel_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = image(2, 20, 24, 17), image(2, 3, 24, 17)  # three channels are too few to be turned in tiles
    torch.synchronize()
    runs = kernels(monkeypatch)
    many.softmax(1).numpy()
    assert len(runs) == 2
    few.softmax(1).numpy()
    assert len(runs) == 3


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("width", [3, 16, 37, 70])
def test_pixels_of_few_channels_that_are_turned_or_scaled(
    dtype: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes are positions of large images, though the channels lie innermost and none of what is moved is a line: no
    loop is as short as a pixel."""
    values = np.random.default_rng(width).integers(0, 256, (2, 3, 300, width)).astype(dtype)
    x, mean = torch.tensor(values).to(memory_format=LAST), np.float32([1, 2, 3]).reshape(1, 3, 1, 1)
    offset = torch.tensor(mean)
    torch.synchronize()
    seen = kernels(monkeypatch)
    for made, want in (
        (x.flip(-1), values[..., ::-1]),
        (x.flip(-2, -1), values[..., ::-1, ::-1]),
        (torch.rot90(x, 1, (2, 3)), np.rot90(values, 1, (2, 3))),
        (x.float() - offset, values.astype("f") - mean),
    ):
        assert (made.numpy() == want).all()
    assert seen and (width < 16 or 3 not in [extents[-1] for extents in seen])


@pytest.mark.parametrize("images", [2, 20])
@pytest.mark.parametrize("last", [False, True], ids=["rows", "last"])
def test_a_convolution_with_one_position_is_a_product(images: int, last: bool) -> None:
    """There, back to the image (as a transposed convolution begins) and to the weights, with its bits."""
    x, w = image(images, 70, 4, 3, last=last), image(9, 70, 4, 3, last=last, seed=1)
    rows, columns = (t.contiguous().flatten(1) for t in (x, w))
    y, dx, dw = gradients(F.conv2d, x, w)
    g = torch.arange(y.numel()).reshape(y.shape).float().cos()
    assert torch.equal(y.flatten(1), rows @ columns.t())
    assert torch.equal(dx.flatten(1), g.flatten(1) @ columns)
    assert torch.equal(dw.flatten(1), g.flatten(1).t() @ rows)
    assert torch.equal(F.conv_transpose2d(g, w), dx)
    low = F.conv2d(x.bfloat16(), w.bfloat16()).float()
    assert torch.allclose(low, y, rtol=0.02, atol=0.5)


@pytest.mark.parametrize("last", [False, True], ids=["rows", "last"])
def test_enlarging_by_many_gathers_both_ways(last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each element is a sum of what it is made of, backward too, in one kernel for each dimension."""
    x = image(2, 3, 5, 6, last=last).requires_grad_()
    y = F.interpolate(x, scale_factor=8, mode="bilinear")
    g = image(*y.shape, last=last)
    y.detach().numpy()
    seen = kernels(monkeypatch)
    (dx,) = torch.autograd.grad(y, x, g)
    dx = dx.numpy()
    assert len(seen) <= 3
    want = np.einsum("nchw,hH,wW->ncHW", g.numpy(), weights(5), weights(6), optimize=True)
    assert np.allclose(dx, want, atol=1e-4)


def weights(n: int) -> Any:
    """How much each element of a line has in those of one eight times as long."""
    at = np.clip((np.arange(8 * n) + 0.5) / 8 - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)))


def test_places_in_step_may_begin_late() -> None:
    assert _walk([1, 3, 5], 7) == (1, 3, 2, 1) and _walk([1, 2, 4], 7) is None
