"""Ever new lengths in random layouts: what is derived has the bits of what is traced and planned for each length."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import builtins, family, kin
from flambeau.ops.registry import ENTRIES
from flambeau.stream.program import STATS

nn = torch.nn.functional
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]
ROUNDS = 24  # random lengths of each call


def places(n: int, most: int) -> Any:
    return torch.arange(n) * 7 % max(most, 1)


def at_least(k: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """A call for tensors whose last two extents are at least k; else the tensor times 2."""
    return lambda x, *more: call(x, *more) if min(x.shape[-2:]) >= k else x * 2


# name: (extents of the operands in n, m and k, the call)
CALLS: dict[str, tuple[str, Callable[..., Any]]] = {
    "arithmetic": ("nm m n1", lambda x, y, z: (x * y - z).tanh()),
    "sums": ("nm", lambda x: [x.sum(), x.sum(0), x.mean(1), x.var(0)]),
    "variances": ("nm", lambda x: [x.std(), x.var(1), *torch.var_mean(x, 0, correction=0.5)]),
    "largest": ("nm", at_least(1, lambda x: [x.amax(1), x.max(0).values, x.argmax().float()])),
    "softmax": ("nm", lambda x: [x.softmax(1), x.log_softmax(0)]),
    "product": ("nm mk", torch.matmul),
    "products": ("3nm 3mk", torch.matmul),
    "transposed product": ("mn mk", lambda x, y: x.t() @ y),
    "linear": ("nm km k", lambda x, w, b: nn.relu(nn.linear(x, w, b))),
    "cat": ("nk mk", lambda x, y: torch.cat([x, y, x])),
    "stack": ("nm nm", lambda x, y: torch.stack([x, y], 1)),
    "slices": ("nm", lambda x: [x[1:, ::2] * 2, x[:-1] + x[1:]]),
    "mirrored": ("nm", lambda x: [x.flip(0), x.tril(), nn.pad(x, (1, 2, 0, 1))]),
    "padded": ("nm", lambda x: [nn.pad(x, (len(x), 0, 3, len(x) // 3)), nn.pad(x, (1, -min(2, x.shape[1])))]),
    "rolled": ("nm", lambda x: [x.roll(len(x) // 2, 0), x.roll((3, -len(x)), (0, 1)), x.roll(5)]),
    "running": ("nm", lambda x: [x.cumsum(0), x.cumsum(1), x.cumprod(1)]),
    "sorted": ("nm", lambda x: [x.sort(1).values, x.sort(0, descending=True).values]),
    "best": ("nm", at_least(3, lambda x: x.topk(3, 1).values)),
    "middle": ("nm", at_least(1, lambda x: x.median(1).values)),
    "found": ("n m", lambda x, y: torch.searchsorted(x.detach().sort().values, y.detach()).float()),
    "distinct": ("n", lambda x: torch.unique(x.detach().round())),
    "masked": ("nm", lambda x: [x[x > 0], x.masked_fill(x > 0, 2.0), (x > 0).nonzero().float()]),
    "rows of a mask": ("n6", lambda x: x[x[:, 0] > 0]),
    "chosen": ("nm", at_least(1, lambda x: [x[places(9, len(x))], x[:, places(5, x.shape[1])]])),
    "gathered": ("nm", lambda x: x.gather(1, x.detach().argsort(1))),
    "scattered": ("nm", lambda x: torch.zeros(6, x.shape[1]).index_add(0, places(len(x), 6), x)),
    "written": ("nm m", lambda x, y: (x * 2).add_(y).mul_(1.5).exp_()),
    "convolved": ("2,3,n 4,3,3", at_least(1, lambda x, w: nn.conv1d(x, w, padding=1))),
    "image": ("1,3,n,m 8,3,3,3 8", at_least(1, lambda x, w, b: nn.conv2d(x, w, b, padding=1))),
    "halved image": ("2,4,n,m 4,4,3,3", at_least(1, lambda x, w: nn.conv2d(x, w, stride=2, padding=1))),
    "averages": ("1,3,n,m", at_least(2, lambda x: nn.avg_pool2d(x, 3, 2, 1))),
    "maxima": ("1,3,n,m", at_least(2, lambda x: nn.max_pool2d(x, 2))),
    "few averages": ("1,3,n,m", at_least(1, lambda x: nn.adaptive_avg_pool2d(x, 2))),
    "enlarged": ("1,2,n,m", at_least(1, lambda x: nn.interpolate(x, size=(7, 5), mode="bilinear"))),
    "norms": ("n8 8 8", lambda x, w, b: [nn.layer_norm(x, (8,), w, b), nn.rms_norm(x, (8,))]),
    "attention": ("1,2,n,8 1,2,m,8 1,2,m,8", at_least(1, nn.scaled_dot_product_attention)),
    "losses": ("n7 n7", lambda x, y: [nn.mse_loss(x, y), nn.cross_entropy(x, places(len(x), 7))]),
    "looked up": ("9m", lambda w: nn.embedding(places(5, 9), w)),
    "in order": ("n", lambda x: x * torch.arange(len(x)) + torch.linspace(0, 1, len(x))),
    "blocks": ("nm k6", torch.block_diag),
}


def shape_of(text: str, extents: dict[str, int]) -> list[int]:
    parts = text.split(",") if "," in text else list(text)
    return [extents[part] if part in extents else int(part) for part in parts]


def laid_out(x: np.ndarray, kind: int) -> Any:
    """A tensor with these numbers: dense, turned, behind something else, or every second column."""
    if kind == 1 and x.ndim > 1:
        return torch.tensor(np.ascontiguousarray(x.swapaxes(-1, -2))).transpose(-1, -2)
    if kind == 2:
        return torch.tensor(np.concatenate([np.zeros((2, *x.shape[1:]), "f4"), x]))[2:]
    if kind == 3:
        return torch.tensor(np.repeat(x, 2, -1))[..., ::2]
    return torch.tensor(x)


def outcomes(name: str) -> list[list[np.ndarray]]:
    """What a call gives, and its gradients, over random lengths and layouts."""
    shapes, call = CALLS[name]
    draw, numbers, found = random.Random(name), np.random.default_rng(0), []
    for at in range(ROUNDS):
        lengths = LENGTHS[:15] if "," in shapes else LENGTHS
        extents = {key: draw.choice(lengths) for key in "nmk"}
        if draw.random() < 0.5:
            extents["m"] = 9  # so that one extent alone is new
        given = [
            laid_out(
                numbers.standard_normal(shape_of(s, extents)).astype("f4"), draw.choice((0, 0, 0, 1, 2, 3))
            )
            for s in shapes.split()
        ]
        given = [x.detach().requires_grad_() for x in given]
        made = call(*given)
        made = made if isinstance(made, list) else [made]
        parts = [(y * (torch.arange(y.numel()).reshape(y.shape) % 7 - 3.0)).sum() for y in made]
        total = sum(part for part in parts if part.requires_grad)
        if at > ROUNDS // 3 and isinstance(total, torch.Tensor):  # of forms that were derived, too
            made += [g for g in torch.autograd.grad(total, given, allow_unused=True) if g is not None]
        found.append([y.detach().numpy().copy() for y in made])
    return found


def forget() -> None:
    for entry in ENTRIES.values():
        entry.cache.clear()
        entry.kin.clear()


@pytest.mark.parametrize("name", CALLS)
def test_any_length_gives_what_it_gives_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    builtins.install()
    forget()
    got = outcomes(name)
    forget()
    monkeypatch.setattr(kin, "derive", lambda *call: None)
    monkeypatch.setattr(kin.Kin, "settle", lambda self: None)
    monkeypatch.setattr(family, "suitable", lambda form: False)
    want = outcomes(name)
    forget()
    for a, b in zip(got, want, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.shape == y.shape and x.tobytes() == y.tobytes()


def test_gradients_of_derived_forms_know_their_own_extents() -> None:
    """Those of a pool name the extents of its result."""
    forget()
    for n in range(5, 30):
        nn.avg_pool2d(torch.ones(1, 2, n, 2 * n), 3, 2, 1, count_include_pad=False).sum().item()
    for n in range(31, 40):
        x = torch.ones(1, 2, n, 2 * n).requires_grad_()
        y = nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        y.sum().backward()
        assert abs(float(x.grad.sum()) - y.numel()) < 1e-2


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 2, 1, 1)])
def test_windows_over_one_element_are_that_element(shape: tuple[int, ...]) -> None:
    x = torch.arange(1.0, 1.0 + int(np.prod(shape))).reshape(shape).requires_grad_()
    y = nn.adaptive_avg_pool2d(x, (3, 2))
    assert (y == x.expand(y.shape)).all()
    y.sum().backward()
    assert (x.grad == 6).all()


def test_gradients_without_features_have_their_shapes() -> None:
    for n, m, k in ((3, 0, 9), (4, 5, 0), (0, 5, 4)):
        x, w, b = torch.ones(n, m), torch.ones(k, m), torch.ones(k)
        x, w, b = x.requires_grad_(), w.requires_grad_(), b.requires_grad_()
        nn.linear(x, w, b).sum().backward()
        assert [x.grad.shape, w.grad.shape, b.grad.shape] == [(n, m), (k, m), (k,)]
        assert (b.grad == n).all()
    table = torch.ones(9, 0).requires_grad_()
    nn.embedding(places(4, 9), table).sum().backward()
    assert table.grad.shape == (9, 0)


def test_gradients_of_ever_new_places_are_derived() -> None:
    """A number or a slice is an extent of its gradient, not another form to plan."""
    forget()
    builtins.install()
    for n in range(40, 52):
        x = torch.ones(n, 3).requires_grad_()
        sum(x[i].sum() * i for i in range(2, n)).backward()
        assert x.grad[:, 0].tolist() == [0, 0, *range(2, n)]
    before = STATS["planned"]
    for n in range(60, 63):
        x = torch.ones(n, 3).requires_grad_()
        (x[7:n].sum() * 2 + sum(x[i].sum() * i for i in range(2, n - 1))).backward()
        assert x.grad[:, 1].tolist() == [0, 0, 2, 3, 4, 5, 6, *range(9, n + 1), 2]
    assert STATS["planned"] - before <= 12
