"""Steps of random programs over extents that threads share: operations of networks, whose kernels differ by size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def images(m: Any, x: Any) -> Any:
    """(1, channels, height, width) of a tensor with two dimensions or more; None for others."""
    if x.ndim < 2 or 0 in x.shape or x.shape[-1] < 3 or x.shape[-2] < 3:
        return None
    return x.tanh().reshape(1, -1, *x.shape[-2:])[:, :6]


def activation(m: Any, x: Any) -> Any:
    F, torch = m.torch.nn.functional, m.torch
    made: list[Callable[[Any], Any]] = [
        F.gelu,
        lambda x: F.gelu(x, approximate="tanh"),
        F.silu,
        F.softplus,
        F.elu,
        lambda x: F.leaky_relu(x, 0.1),
        F.hardswish,
        F.logsigmoid,
        F.mish,
        lambda x: x.clamp(-0.5, 0.7),
        lambda x: (x.abs() + 0.1) ** 1.5,
        lambda x: torch.log1p(x * x),
        torch.erf,
        lambda x: (x * x + 0.5).rsqrt(),
        lambda x: torch.addcmul(x, x.sin(), x.cos(), value=0.5),
        lambda x: torch.lerp(x, x.sigmoid(), 0.3),
        lambda x: x.masked_fill(x < 0, 0.25),
        lambda x: x.roll(3, 0) if x.ndim else x,
        lambda x: x.triu(1) if x.ndim > 1 else x,
    ]
    return m.rng.choice(made)(x)


def along(m: Any, x: Any) -> Any:
    """Along one dimension."""
    F, torch, rng = m.torch.nn.functional, m.torch, m.rng
    if not x.ndim or 0 in x.shape:
        return None
    dim, keep = rng.randrange(x.ndim), rng.random() < 0.5
    many = x.shape[dim] > 1
    made: list[Callable[[Any], Any]] = [
        lambda x: x.max(dim, keepdim=keep)[0],
        lambda x: x.min(dim)[1].to(m.dtype),
        lambda x: x.argmax(dim).to(m.dtype) + x.mean(),
        lambda x: x.std(dim, keepdim=keep) if many else x,
        lambda x: x.var(dim, correction=0),
        lambda x: torch.logsumexp(x, dim),
        lambda x: x.log_softmax(dim),
        lambda x: (x * x + 1e-3).sum(dim, keepdim=keep).sqrt(),
        lambda x: F.normalize(x + 3, dim=dim),
        lambda x: x.sort(dim)[0],
        lambda x: x.topk(min(3, x.shape[dim]), dim)[0],
        lambda x: x.cumsum(dim).tanh(),
        lambda x: torch.diff(x, dim=dim) if many else x,
        lambda x: x - x.mean(dim, keepdim=True),
        lambda x: (x > 0).sum(dim).to(m.dtype),
        lambda x: (x > 3).any(dim).to(m.dtype) + x.sum(),
        lambda x: x.softmax(dim) * x,
        lambda x: (x - x.amax(dim, keepdim=True)).exp().sum(dim),
    ]
    return rng.choice(made)(x)


def whole(m: Any, x: Any) -> Any:
    """Sums over all elements, and what is done with them."""
    F, rng = m.torch.nn.functional, m.rng
    if 0 in x.shape:
        return None
    y = m.partner(x)
    made: list[Callable[[Any], Any]] = [
        lambda x: x / (x.norm() + 1),
        lambda x: (x - x.mean()) / (x.std() + 1) if x.numel() > 1 else x,
        lambda x: F.mse_loss(*m.torch.broadcast_tensors(x, y)),
        lambda x: F.smooth_l1_loss(x, x.tanh() * 0.5),
        lambda x: F.binary_cross_entropy_with_logits(x, x.detach().sigmoid()),
        lambda x: x.abs().max() * x,
        lambda x: x.mean() + y.sum(),
        lambda x: (x * x.sigmoid()).sum() * x,
    ]
    return rng.choice(made)(x)


def rows(m: Any, x: Any) -> Any:
    """Rows that are looked up, added to and written, some of them twice."""
    F, torch, rng = m.torch.nn.functional, m.torch, m.rng
    if not x.ndim or not x.shape[0] or 0 in x.shape:
        return None
    n = x.shape[0]
    at = torch.tensor([m.below(n) for _ in range(rng.choice([5, 40, 300]))])
    made: list[Callable[[Any], Any]] = [
        lambda x: x.index_select(0, at),
        lambda x: x.index_add(0, at, x[at] * 0.5),
        lambda x: x[at].sum(0),
        lambda x: torch.zeros_like(x).index_add(0, at, x[at].tanh()),
        lambda x: F.embedding(at, x) if x.ndim == 2 else x[at],
        lambda x: x.gather(0, at.reshape(-1, *[1] * (x.ndim - 1)).expand(-1, *x.shape[1:])),
        lambda x: x.take_along_dim(x.argsort(0), 0),
        lambda x: F.cross_entropy(x[at], at % x.shape[1]) if x.ndim == 2 else x.mean(),
    ]
    return rng.choice(made)(x)


def normed(m: Any, x: Any) -> Any:
    F, torch, rng = m.torch.nn.functional, m.torch, m.rng
    if x.ndim < 2 or x.shape[-1] < 2 or 0 in x.shape or x.shape[0] * x.shape[-1] < 3:
        return None
    channels = x.shape[1]
    weight, bias = m.made((channels,)), m.made((channels,))
    if rng.random() < 0.5:
        m.leaves += [weight.requires_grad_(), bias.requires_grad_()]
    mean, variance = torch.zeros(channels, dtype=m.dtype), torch.ones(channels, dtype=m.dtype)
    which = rng.choice(["batch", "batch", "eval", "layer", "rms", "group"])
    if which in ("batch", "eval"):
        if x.numel() // channels < 2:
            return None
        y = F.batch_norm(x, mean, variance, weight, bias, which == "batch")
        m.add(mean + variance)
        return y
    if which == "group":
        return F.group_norm(x, 1, weight, bias)
    last = x.shape[-1:]
    return F.layer_norm(x, last) if which == "layer" else F.rms_norm(x, last)


def product(m: Any, x: Any) -> Any:
    F, torch, rng = m.torch.nn.functional, m.torch, m.rng
    if x.ndim < 2 or 0 in x.shape:
        return None
    x = x.tanh()
    given, made = x.shape[-1], rng.choice([1, 7, 64, 130])
    weight, bias = m.made((made, given)), m.made((made,))
    if rng.random() < 0.6:
        m.leaves += [weight.requires_grad_(), bias.requires_grad_()]
    which = rng.choice(["linear", "relu", "gelu", "bmm", "addmm", "attention", "residual", "einsum"])
    scale = given**-0.5
    y = F.linear(x, weight * scale, bias)
    if which == "relu":
        return y.relu()
    if which == "gelu":
        return F.gelu(y)
    if which == "bmm":
        return x @ x.transpose(-1, -2) * scale
    if which == "addmm" and x.ndim == 2:
        return torch.addmm(bias, x, weight.t(), beta=0.5, alpha=scale)
    if which == "attention" and x.ndim == 3:
        return F.scaled_dot_product_attention(x, x.sin(), x, is_causal=rng.random() < 0.5)
    if which == "residual":
        return x + F.linear(y, weight.t() * 0.1)
    if which == "einsum" and x.ndim == 3:
        return torch.einsum("bij,bkj->bik", x, x.cos()) * scale
    return y


def pictures(m: Any, x: Any) -> Any:
    F, rng = m.torch.nn.functional, m.rng
    x = images(m, x)
    if x is None:
        return None
    channels = x.shape[1]
    if rng.random() < 0.3:
        x = x.contiguous(memory_format=m.torch.channels_last)
    which = rng.choice(["conv", "conv", "stride", "deep", "max", "average", "nearest", "bilinear", "pad"])
    if which in ("conv", "stride", "deep"):
        made = {"deep": channels}.get(which, rng.choice([1, 4, 17]))
        taps = rng.choice([1, 3, 3, 5])
        weight = m.made((made, 1 if which == "deep" else channels, taps, taps)) * 0.3
        if rng.random() < 0.6:
            m.leaves.append(weight.requires_grad_())
        stride = 2 if which == "stride" else 1
        return F.conv2d(x, weight * 1, None, stride, taps // 2, 1, channels if which == "deep" else 1)[0]
    if which == "max":
        return F.max_pool2d(x, rng.choice([2, 3]), 2, 1)[0]
    if which == "average":
        return F.avg_pool2d(x, rng.choice([2, 3]), 1)[0]
    if which == "pad":
        return F.pad(x, (1, 2, 0, 1), mode=rng.choice(["constant", "reflect", "replicate"]))[0]
    if x.numel() > m.largest // 4:
        return None
    options = {"align_corners": False} if which == "bilinear" else {}
    return F.interpolate(x, scale_factor=2, mode=which, **options)[0]


FAMILIES = [activation, activation, along, along, whole, rows, normed, product, pictures]


def network(m: Any) -> None:
    """One operation of a network."""
    x, family = m.pick().t, m.rng.choice(FAMILIES)
    m.say(f"{family.__name__} {tuple(x.shape)}")
    made = family(m, x)
    if made is not None:
        m.add(made)


def average(m: Any) -> None:
    """A mean that moves, as of batch norm or of weights: a write in place beside a reduction."""
    item = m.pick()
    x = item.t
    if x.ndim < 2 or x.requires_grad or 0 in x.shape or not x.is_contiguous():
        return
    m.say(f"average {tuple(x.shape)}")
    held = m.made(tuple(x.shape[1:]))
    s = (x * x).sum() if m.rng.random() < 0.5 else (x * x).mean(0)
    held.mul_(0.9).add_(x.mean(0), alpha=0.1)
    x.mul_(m.number()).clamp_(-2, 2)
    m.add(held)
    m.add(s)


def clipped(m: Any) -> None:
    """Gradients that are measured and scaled, as clipping does."""
    leaves = [t for t in m.leaves if t.grad is not None]
    if not leaves:
        return
    m.say(f"clip {len(leaves)}")
    if m.rng.random() < 0.5:
        m.add(m.torch.nn.utils.clip_grad_norm_(leaves, 0.5))
    else:
        with m.torch.no_grad():
            for t in leaves:
                m.add((t.grad * t.grad).sum())
                t.grad.mul_(0.5)


def chances(common: dict[Callable[[Any], None], int]) -> dict[Callable[[Any], None], int]:
    """How often what comes."""
    return common | {network: 40, average: 4, clipped: 3}
