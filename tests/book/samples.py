"""Sample inputs of every entry of the book of ops, at small shapes.

An entry whose operands may be any floats (or integers, `INTEGER`) is called on such, all others by `CALLS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import flambeau as torch
from flambeau.ops.entry import ENTRIES
from flambeau.ops.random import state_of
from flambeau.ops.registry import OPERANDS

F = torch.nn.functional
L = torch.linalg
Call = Callable[["Inputs"], Any]


class Inputs:
    """Tensors of fixed numbers; those of floats are leaves when `grad` is set."""

    def __init__(self, grad: bool, dtype: Any = torch.float32):
        self.grad, self.dtype, self.leaves, self.count = grad, dtype, [], 0

    def x(self, *shape: int, low: float = 0.1, high: float = 0.9) -> Any:
        """Distinct floats between two bounds."""
        self.count += 1
        rng = np.random.default_rng(self.count)
        t = torch.tensor(rng.uniform(low, high, shape).astype(np.float32)).to(self.dtype)
        if self.grad:
            self.leaves.append(t.requires_grad_())
        return t

    def plain(self, *shape: int) -> Any:
        """Floats that need no gradient."""
        before, self.grad = self.grad, False
        t = self.x(*shape)
        self.grad = before
        return t

    def i(self, *values: Any) -> Any:
        """Whole numbers."""
        return torch.tensor(list(values))

    def mask(self, *shape: int) -> Any:
        """Truth values."""
        return torch.tensor(np.arange(int(np.prod(shape))).reshape(shape) % 3 > 0)


INTEGER = {
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_not",
    "bitwise_left_shift",
    "bitwise_right_shift",
}
INTEGER |= {"gcd", "lcm"}


def reduced(name: str) -> dict[str, Call]:
    """A reduction over all, over one dimension, over several."""
    return {
        name: lambda s: getattr(s.x(3, 4, 5), name)(),
        f"{name} of rows": lambda s: getattr(s.x(3, 4, 5), name)(1),
        f"{name} of planes": lambda s: getattr(s.x(3, 4, 5), name)((0, 2), True),
    }


CALLS: dict[str, Call] = {
    "gates of an LSTM": lambda s: torch._lstm_gates(s.x(3, 16), s.x(3, 4)),
    "steps of an LSTM": lambda s: torch._recurrent_steps(
        s.x(3, 2, 16), s.x(2, 4), s.x(2, 4), s.x(16, 4), None, None, None, "lstm", False, True
    ),
    "steps of a GRU over several lengths": lambda s: torch._recurrent_steps(
        s.x(7, 12), s.x(3, 4), None, s.x(12, 4), s.x(12), None, torch.tensor([3, 2, 1, 1]), "gru", True, True
    ),
    "attention": lambda s: torch.nn.functional.scaled_dot_product_attention(
        s.x(1, 2, 3, 4), s.x(1, 2, 5, 4), s.x(1, 2, 5, 4)
    ),
    "gates of a GRU": lambda s: torch._gru_gates(s.x(3, 12), s.x(3, 12), s.x(3, 4)),
    "add alpha": lambda s: torch.add(s.x(3, 4), s.x(4), alpha=0.3),
    "add number": lambda s: s.x(3, 4) + 2,
    "div floor": lambda s: torch.div(s.x(3, 4), s.x(4), rounding_mode="floor"),
    "div trunc": lambda s: torch.div(s.x(3, 4), 0.3, rounding_mode="trunc"),
    "floor_divide of ints": lambda s: s.i(7, -7, 9) // s.i(2, 2, -4),
    "remainder of ints": lambda s: s.i(7, -7, 9) % s.i(2, 2, -4),
    "rmod": lambda s: 3 % s.x(4),
    "rfloordiv": lambda s: 3 // s.x(4),
    "to": lambda s: s.x(3, 4).to(torch.float64),
    "copy_": lambda s: s.plain(3, 4).copy_(s.x(4)),
    "fill_": lambda s: s.plain(3, 4).fill_(s.x()),
    "zero_": lambda s: (s.x(3, 4) * 1).zero_(),
    "full": lambda s: torch.full((3, 4), 2.5),
    "sum_to_size": lambda s: s.x(3, 4).sum_to_size(1, 4),
    "round": lambda s: s.x(3, 4).round(decimals=1),
    "where": lambda s: torch.where(s.mask(3, 4), s.x(3, 4), s.x(4)),
    "masked_fill": lambda s: s.x(3, 4).masked_fill(s.mask(4), 7),
    "clamp": lambda s: s.x(3, 4).clamp(0.3, s.x(4)),
    "pow": lambda s: [s.x(4) ** 2, s.x(4) ** 0.3, s.x(4) ** s.x(4), 2 ** s.x(4), s.i(2, -3) ** 3],
    "lerp": lambda s: [s.x(4).lerp(s.x(4), 0.3), s.x(4).lerp(s.x(4), s.x(4))],
    **reduced("sum"),
    **reduced("mean"),
    **reduced("amax"),
    **reduced("amin"),
    **reduced("var"),
    **reduced("std"),
    **reduced("nansum"),
    "sum of float64": lambda s: s.x(3, 4).sum(0, dtype=torch.float64),
    "max": lambda s: [s.x(3, 4).max(), s.x(3, 4).max(1).values, s.x(3, 4).max(0).indices],
    "min": lambda s: [s.x(3, 4).min(), s.x(3, 4).min(1).values, s.x(3, 4).min(0).indices],
    "arg": lambda s: [s.x(3, 4).argmax(), s.x(3, 4).argmax(1), s.x(3, 4).argmin(0)],
    "all any": lambda s: [s.mask(3, 4).all(), s.mask(3, 4).any(1), s.x(3, 4).all(0), s.x(2).any()],
    "prod": lambda s: [s.x(3, 4).prod(), s.x(3, 4).prod(1)],
    "count_nonzero": lambda s: [s.x(3, 4).count_nonzero(), s.mask(3, 4).count_nonzero(0)],
    "logsumexp": lambda s: s.x(3, 4).logsumexp(1),
    "softmax": lambda s: [s.x(3, 4).softmax(1), s.x(3, 4).softmax(0), s.x(3, 4).log_softmax(1)],
    "nll_loss": lambda s: F.nll_loss(s.x(3, 4).log_softmax(1), s.i(1, 3, 0), s.plain(4)),
    "cross_entropy": lambda s: F.cross_entropy(s.x(3, 4), s.i(1, 3, 0), label_smoothing=0.1),
    "cross_entropy of planes": lambda s: F.cross_entropy(s.x(2, 4, 3), torch.tensor([[1, 0, 3], [2, 2, 1]])),
    "one_hot": lambda s: F.one_hot(s.i(1, 0, 3), 4),
    "threshold": lambda s: F.threshold(s.x(3, 4), 0.4, 0.7),
    "softshrink": lambda s: F.softshrink(s.x(3, 4), 0.3),
    "leaky": lambda s: [
        F.leaky_relu(s.x(4, low=-1), 0.2),
        F.elu(s.x(4, low=-1)),
        F.celu(s.x(4, low=-1), 2.0),
    ],
    "leaky in place": lambda s: [F.leaky_relu_(s.x(4, low=-1) * 1), F.elu_(s.x(4, low=-1) * 1)],
    "celu in place": lambda s: torch.celu_(s.x(4, low=-1) * 1),
    "prelu": lambda s: F.prelu(s.x(3, 4, low=-1), s.x(1)),
    "rrelu": lambda s: F.rrelu(s.x(3, 4, low=-1), training=True),
    "gelu": lambda s: [F.gelu(s.x(3, 4, low=-1)), F.gelu(s.x(3, 4, low=-1), approximate="tanh")],
    "glu": lambda s: F.glu(s.x(3, 4)),
    "losses": lambda s: [
        *[f(s.x(3, 4), s.x(3, 4)) for f in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)],
        *[F.kl_div(s.x(3, 4), s.x(3, 4), reduction="sum"), F.binary_cross_entropy(s.x(3, 4), s.plain(3, 4))],
        F.binary_cross_entropy_with_logits(s.x(3, 4), s.plain(3, 4), pos_weight=s.plain(4)),
    ],
    "layer_norm": lambda s: F.layer_norm(s.x(3, 4), (4,), s.x(4), s.x(4)),
    "rms_norm": lambda s: F.rms_norm(s.x(3, 4), (4,), s.x(4)),
    "group_norm": lambda s: F.group_norm(s.x(2, 4, 3), 2, s.x(4), s.x(4)),
    "batch_norm": lambda s: F.batch_norm(s.x(3, 4), s.plain(4), s.plain(4), s.x(4), s.x(4), True),
    "batch_norm evaluated": lambda s: F.batch_norm(s.x(3, 4), s.plain(4), s.plain(4)),
    "instance_norm": lambda s: F.instance_norm(s.x(2, 4, 5), s.plain(4), s.plain(4)),
    "norms": lambda s: [L.vector_norm(s.x(3, 4), p, 1) for p in (0, 1, 2, 3, float("inf"))],
    "normalize": lambda s: F.normalize(s.x(3, 4)),
    "cosine": lambda s: F.cosine_similarity(s.x(3, 4), s.x(3, 4)),
    "logit": lambda s: [torch.logit(s.x(3, 4)), torch.logit(s.x(3, 4), 0.2)],
    "nan_to_num": lambda s: torch.nan_to_num(s.x(4) / s.plain(4).round(), 1.0, 2.0, 3.0),
    "frexp": lambda s: list(torch.frexp(s.x(4))),
    "igamma": lambda s: [torch.igamma(s.plain(4), s.x(4)), torch.igammac(s.plain(4), s.x(4))],
    "xlogy": lambda s: [torch.xlogy(s.x(4), s.x(4)), torch.special.xlog1py(s.x(4), 0.3)],
    "zeta": lambda s: torch.special.zeta(s.plain(4) + 2, s.x(4)),
    "polygamma": lambda s: [torch.polygamma(n, s.x(4)) for n in (0, 1, 2)],
    "isclose": lambda s: torch.isclose(s.x(3, 4), s.x(3, 4), 0.5),
    "bessel": lambda s: [
        getattr(torch.special, name)(s.plain(40) * 12)
        for name in (
            *(f"bessel_{k}" for k in ("j0", "j1", "y0", "y1")),
            *(f"{b}modified_bessel_{k}" for b in ("", "scaled_") for k in ("k0", "k1")),
            *("airy_ai", "spherical_bessel_j0"),
        )
    ],
    "polynomials": lambda s: [
        getattr(torch.special, name)(s.plain(4), 3)
        for name in (
            *(f"{b}chebyshev_polynomial_{k}" for b in ("", "shifted_") for k in "tuvw"),
            *(
                "hermite_polynomial_h",
                "hermite_polynomial_he",
                "laguerre_polynomial_l",
                "legendre_polynomial_p",
            ),
        )
    ],
    "inv": lambda s: L.inv(s.x(3, 3) + torch.eye(3)),
    "inv_ex": lambda s: L.inv_ex(s.x(3, 3) + torch.eye(3)).info,
    "det": lambda s: [L.det(s.x(2, 3, 3)), torch.slogdet(s.x(3, 3))[1]],
    "det twice": lambda s: twice(s),
    "solve": lambda s: L.solve(s.x(3, 3) + torch.eye(3), s.x(3, 2)),
    "cholesky": lambda s: L.cholesky(s.x(3, 3) @ torch.eye(3) * 0.1 + torch.eye(3) * 3),
    "eigh": lambda s: L.eigvalsh(s.x(3, 3)),
    "eig": lambda s: L.eigvals(s.x(3, 3)).abs(),
    "svd": lambda s: L.svdvals(s.x(3, 4)),
    "qr": lambda s: L.qr(s.x(4, 3)).R,
    "lu": lambda s: [L.lu_factor(s.x(3, 3)).LU, *L.lu(s.x(3, 3))],
    "geqrf": lambda s: torch.geqrf(s.plain(4, 3))[0],
    "matrix_exp": lambda s: L.matrix_exp(s.x(3, 3)),
    "pinv": lambda s: [L.pinv(s.x(4, 3)), L.matrix_rank(s.plain(4, 3))],
    "mm": lambda s: [s.x(3, 4) @ s.x(4, 5), s.x(2, 3, 4) @ s.x(2, 4, 5), s.x(3, 4) @ s.x(4), s.x(4) @ s.x(4)],
    "stacked": lambda s: s.x(2, 3, 4) @ s.x(4, 5),
    "stacks": lambda s: s.x(2, 1, 3, 4) @ s.x(3, 4, 5),
    "addmm": lambda s: torch.addmm(s.x(5), s.x(3, 4), s.x(4, 5), beta=0.5, alpha=2),
    "addmv": lambda s: torch.addmv(s.x(3), s.x(3, 4), s.x(4), alpha=2),
    "addr": lambda s: torch.addr(s.x(3, 4), s.x(3), s.x(4), beta=0.5),
    "addbmm": lambda s: torch.addbmm(s.x(3, 5), s.x(2, 3, 4), s.x(2, 4, 5)),
    "baddbmm": lambda s: torch.baddbmm(s.x(2, 3, 5), s.x(2, 3, 4), s.x(2, 4, 5), beta=0.5),
    "linear": lambda s: [F.linear(s.x(3, 4), s.x(5, 4), s.x(5)), F.linear(s.x(2, 3, 4), s.x(5, 4))],
    "scans": lambda s: [s.x(3, 4).cumsum(1), s.x(3, 4).cumprod(0), s.x(3, 4).logcumsumexp(1)],
    "running extrema": lambda s: [s.x(3, 4).cummax(1).values, s.x(3, 4).cummin(0).values],
    "views": lambda s: [s.x(4, 5)[1:3, ::2], s.x(4, 5).T, s.x(4, 5).diagonal(1), s.x(6).unfold(0, 3, 1)],
    "window": lambda s: s.x(4, 5).as_strided((3, 2), (2, 1), 1) * 2,
    "overlapping window": lambda s: s.x(6).as_strided((4, 3), (1, 1)) * 2,
    "view written": lambda s: written(s),
    "scatters of views": lambda s: [
        *[torch.diagonal_scatter(s.x(3, 3), s.x(3)), torch.select_scatter(s.x(3, 4), s.x(4), 0, 1)],
        torch.slice_scatter(s.x(3, 4), s.x(1, 4), 0, 1, 2),
        torch.as_strided_scatter(s.x(3, 4), s.x(2, 2), (2, 2), (4, 1), 1),
    ],
    "diag_embed": lambda s: torch.diag_embed(s.x(2, 3)),
    "trace": lambda s: s.x(3, 4).trace(),
    "triangles": lambda s: [s.x(3, 4).tril(1), s.x(3, 4).triu(-1)],
    "joins": lambda s: [torch.cat([s.x(2, 3), s.x(1, 3)]), torch.stack([s.x(3), s.x(3)], 1)],
    "block_diag": lambda s: torch.block_diag(s.x(2, 3), s.x(1, 2)),
    "rearranged": lambda s: [s.x(2, 3).repeat(2, 2), s.x(3, 4).flip(0, 1), s.x(3, 4).roll((1, 2), (0, 1))],
    "pad": lambda s: [
        F.pad(s.x(1, 3, 4), (1, 2), m) for m in ("constant", "reflect", "replicate", "circular")
    ],
    "pad cut": lambda s: F.pad(s.x(1, 3, 4), (2, -1), "replicate"),
    "pad written twice": lambda s: grown(s),
    "gather": lambda s: s.x(3, 4).gather(1, torch.tensor([[0, 1], [2, 3], [3, 3]])),
    "index_select": lambda s: s.x(3, 4).index_select(1, s.i(0, 3, 3)),
    "take": lambda s: s.x(3, 4).take(s.i(0, 11, -1)),
    "index": lambda s: [s.x(3, 4)[s.i(0, 2)], s.x(3, 4)[:, s.i(1)], s.x(3, 4)[s.mask(3, 4)]],
    "index_put": lambda s: (s.x(3, 4) * 1).index_put((s.i(0, 2),), s.x(2, 4), accumulate=True),
    "index_put_": lambda s: (s.x(3, 4) * 1).index_put_((s.i(0, 2),), s.x(2, 4)),
    "embedding": lambda s: F.embedding(s.i(0, 2, 2), s.x(3, 4)),
    "embedding_bag": lambda s: [
        F.embedding_bag(s.i(0, 2, 2, 1), s.x(3, 4), s.i(0, 3, 3), mode=m) for m in ("sum", "mean")
    ],
    "weighted bags": lambda s: [
        F.embedding_bag(
            s.i(0, 2, 2, 1), s.x(3, 4), s.i(0, 3, 3), mode="sum", per_sample_weights=s.x(4), padding_idx=p
        )
        for p in (None, 1)
    ],
    **{
        f"{name}{suffix}": lambda s, name=name, suffix=suffix, rest=rest: getattr(
            s.x(3, 4) * 1, name + suffix
        )(0, at(s, name), *rest(s))
        for suffix in ("", "_")
        for name, rest in {
            "scatter_add": lambda s: (s.x(2, 4),),
            "scatter": lambda s: (s.x(2, 4),),
            "scatter_reduce": lambda s: (s.x(2, 4), "prod"),
            "index_add": lambda s: (s.x(2, 4),),
            "index_copy": lambda s: (s.x(2, 4),),
            "index_fill": lambda s: (0.5,),
            "index_reduce": lambda s: (s.plain(2, 4), "prod"),
        }.items()
    },
    "index_reduce of amax": lambda s: (s.x(3, 4) * 1).index_reduce(0, s.i(0, 2), s.x(2, 4), "amax"),
    "index_reduce of prod": lambda s: (s.x(3, 4) * 1).index_reduce(0, s.i(0, 2), s.x(2, 4), "prod"),
    "scatter number": lambda s: [
        (s.x(3, 4) * 1).scatter(0, at(s, ""), 2.5),
        (s.x(3, 4) * 1).scatter_(0, at(s, ""), 2),
    ],
    "scatter with": lambda s: [
        s.plain(3, 4).scatter(0, at(s, ""), s.plain(2, 4), reduce="add"),
        s.plain(3, 4).scatter_(0, at(s, ""), s.plain(2, 4), reduce="multiply"),
    ],
    "put": lambda s: (s.x(3, 4) * 1).put(s.i(0, 5), s.x(2), True),
    "masked_scatter": lambda s: s.x(3, 4).masked_scatter(s.mask(3, 4), s.x(12)),
    "interpolate": lambda s: [
        F.interpolate(s.x(1, 2, 3, 4), scale_factor=2, mode=mode)
        for mode in ("nearest", "bilinear", "bicubic")
    ],
    "across": lambda s: [s.x(20, 37).t().contiguous(), s.x(2, 17, 19).transpose(1, 2) * 2 + s.x(19, 17)],
    "linear of samples": lambda s: torch.vmap(F.linear)(s.x(2, 3, 4), s.x(2, 5, 4)),
    "cross": lambda s: torch.linalg.cross(s.x(2, 3), s.x(1, 3)),
    "sort": lambda s: [s.x(3, 7).sort(1).values, s.x(3, 7).sort(0, True).indices],
    "topk": lambda s: s.x(3, 7).topk(2).values,
    "medians": lambda s: [
        s.x(3, 7).median(1).values,
        s.x(3, 7).nanmedian(0).values,
        s.x(3, 7).kthvalue(2).values,
    ],
    "mode": lambda s: s.x(3, 7).mode(1).values,
    "runs": lambda s: [*torch._runs(s.i(3, 3, 1), True), *torch._runs_placed(s.i(3, 3, 1), s.i(2, 0, 1))],
    "in order": lambda s: torch._in_order(s.i(3, 1, 2)),
    "bincount": lambda s: torch.bincount(s.i(0, 2, 2), s.plain(3)),
    "histc": lambda s: [torch.histc(s.plain(20), 4, 0, 1), torch.histc(s.plain(20), 3)],
    "searchsorted": lambda s: torch.searchsorted(s.i(1, 3, 5, 7), s.i(0, 3, 9), right=True),
    "convolution": lambda s: [
        F.conv2d(s.x(2, 4, 5, 5), s.x(4, 2, 3, 3), s.x(4), 2, 1, groups=2),
        *[
            F.conv1d(s.x(1, 2, 6), s.x(3, 2, 3)),
            F.conv_transpose2d(s.x(1, 2, 3, 3), s.x(2, 3, 2, 2), stride=2),
        ],
    ],
    "pooling": lambda s: [
        *[F.max_pool2d(s.x(1, 2, 4, 4), 2), F.avg_pool2d(s.x(1, 2, 5, 5), 3, 2, 1)],
        *[F.adaptive_avg_pool2d(s.x(1, 2, 5, 5), 2), F.adaptive_max_pool1d(s.x(1, 2, 5), 2)],
    ],
    "draws": lambda s: draws(s),
    "dropouts": lambda s: [
        *[f(s.x(3, 4), 0.4, True) for f in (F.dropout, F.alpha_dropout)],
        *[F.dropout2d(s.x(1, 2, 3, 3), 0.4), F.feature_alpha_dropout(s.x(2, 3, 4), 0.4, True)],
        torch.native_dropout(s.x(3, 4), 0.4, True)[0],
    ],
    "arange": lambda s: [
        torch.arange(2, 9, 3),
        torch.arange(0, 1, 0.3),
        torch.linspace(0, 1, 5),
        torch.eye(3, 4),
    ],
    "argwhere": lambda s: [s.mask(3, 4).nonzero(), torch.tril_indices(3, 4)],
    "products in place": lambda s: [
        ENTRIES[name].wrapper(s.plain(3, 4), 0, at(s, name.strip("_")), s.plain(2, 4))
        for name in ("__index_prod_direct", "__scatter_prod_direct")
    ],
}


def at(s: Inputs, name: str) -> Any:
    """Places along the first of three rows: a vector for index_*, rows for scatter."""
    return s.i(0, 2) if name.startswith("index") else torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])


def written(s: Inputs) -> Any:
    """In-place writes through views, whose gradients go through windows of the base."""
    y = s.x(4, 5) * 2
    y[1:3].mul_(3)
    y[:, 1] = s.x(4)
    y.diagonal().add_(1)
    return y


def grown(s: Inputs) -> Any:
    """The second derivative of a padding."""
    x = s.x(1, 2, 4)
    y = F.pad(x * x, (1, 1), "reflect")
    return torch.autograd.grad((y * y).sum(), x, create_graph=True)[0] if s.grad else y


def draws(s: Inputs) -> Any:
    """One of every kind of random number."""
    torch.manual_seed(3)
    p = s.x(3, 4)
    e = lambda: torch.empty(20)
    return [
        *[torch.rand(20), torch.randn(20), torch.randint(0, 9, (8,)), torch.randperm(9), torch.bernoulli(p)],
        *[torch.normal(p, 1.0), e().exponential_(), e().cauchy_(), e().geometric_(0.3), e().log_normal_()],
        *[torch.bernoulli(p, 0.3), torch.multinomial(p.detach(), 3, True), torch.poisson(p.detach() * 5)],
        *[torch.binomial(p.detach() * 9, p.detach()), torch._standard_gamma(p), torch._sample_dirichlet(p)],
    ]


def twice(s: Inputs) -> Any:
    """The gradient of a determinant, which has a gradient of its own."""
    x = s.x(3, 3)
    return torch.autograd.grad(L.det(x), x, create_graph=True)[0] if s.grad else x


def derived() -> dict[str, Call]:
    """For each entry whose parameters are all tensors and numbers: a call on floats (on integers for INTEGER)."""
    calls: dict[str, Call] = {}
    for name, entry in ENTRIES.items():
        required = [p for p in entry.positional if p not in entry.defaults]
        if (
            not all(entry.kinds[p] in OPERANDS for p in entry.params)
            or "A" in entry.params
            or "state" in entry.params
        ):
            continue
        if name in SHAPED:
            continue
        kinds = [entry.kinds[p] for p in required]
        calls[f"op {name}"] = lambda s, entry=entry, kinds=kinds, name=name: entry.wrapper(
            *[0.3 if k == "N" else s.i(6, 4, 1) if name in INTEGER else s.x(3, 4) for k in kinds]
        )
    return calls


# Entries of matrices, and those that want some operand of another type: all in CALLS.
SHAPED = {
    "_mixed",
    "_target_weights",
    "_in_order",
    "_read_at",
    "_runs_placed",
    "_gru_gates",
    "_lstm_gates",
    "mm",
    "bmm",
    "addmm",
    "linear",
    "_stacked",
    "_stacked_linear",
    "dot",
    "matrix_exp",
    "mv",
    "addmv",
    "addr",
    "baddbmm",
    "addbmm",
}
SHAPED |= {"_where", "masked_fill", "masked_scatter", "trace", "linalg_inv", "_prelu_kernel", "fill", "clamp"}
SHAPED |= {
    "_pow_tensor",
    "lerp",
    "frexp",
    "_geqrf",
    "igamma",
    "igammac",
    "special_zeta",
    "_embedding",
    "copy",
    "take",
}
SHAPED |= {f"special_{b}chebyshev_polynomial_{k}" for b in ("", "shifted_") for k in "tuvw"}
SHAPED |= {f"special_{p}" for p in ("hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l")}
SHAPED |= {"special_legendre_polynomial_p"}
CALLS |= {
    "attention with dropout": lambda s: ENTRIES["_attention_with_dropout"].wrapper(
        *(s.x(1, 2, 5, 4) for _ in "qkv"), None, state_of(None), 0.7, False, 0.5, False
    )[0],
    "grid_sample": lambda s: torch.nn.functional.grid_sample(
        s.x(1, 2, 4, 5), s.x(1, 3, 3, 2), align_corners=False
    ),
    "grid_sample of volumes": lambda s: torch.nn.functional.grid_sample(
        s.x(1, 2, 3, 4, 5), s.x(1, 2, 3, 2, 3), align_corners=False
    ),
    "ctc_loss": lambda s: torch.nn.functional.ctc_loss(
        s.x(6, 2, 4).log_softmax(-1), torch.tensor([[1, 2], [3, 3]]), [6, 5], [2, 2]
    ),
    "patches": lambda s: torch.nn.functional.unfold(
        s.x(1, 2, 5, 4), (3, 2), dilation=(1, 2), stride=2, padding=1
    ),
    "patches that meet": lambda s: torch.nn.functional.fold(s.x(1, 8, 12), (4, 5), 2),
    "patches apart": lambda s: torch.nn.functional.fold(s.x(1, 8, 4), (4, 4), 2, stride=2),
    "distances of pairs": lambda s: torch.pdist(s.x(5, 3)),
    "triangles": lambda s: torch.linalg.solve_triangular(s.x(3, 3) + 4 * torch.eye(3), s.x(3, 2), upper=True),
    "by a factor": lambda s: torch.cholesky_solve(s.x(3, 2), s.x(3, 3) + 4 * torch.eye(3)),
    "by an indefinite one": lambda s: torch.linalg.ldl_solve(
        *torch.linalg.ldl_factor(s.x(3, 3) + s.x(3, 3).t() + 4 * torch.eye(3)), s.x(3, 2)
    ),
    "eigenvalues alone": lambda s: torch.linalg.eigvalsh(s.x(3, 3).detach()) + s.x(3),
    "eigenvalues of any matrix alone": lambda s: torch.linalg.eigvals(s.x(3, 3).detach()).abs() + s.x(3),
    "singular values alone": lambda s: torch.linalg.svdvals(s.x(3, 3).detach()) + s.x(3),
}
CALLS |= {  # the transforms are NumPy's, or SciPy's
    "_fft_c2c": lambda s: torch.view_as_real(
        torch.fft.ifft(torch.fft.fft(torch.complex(s.x(2, 5), s.x(2, 5))))
    ),
    "_fft_r2c": lambda s: torch.view_as_real(torch.fft.rfft(s.x(2, 6))),
    "_fft_c2r": lambda s: torch.fft.irfft(torch.complex(s.x(2, 4), s.x(2, 4))),
}
ALL: dict[str, Call] = {**derived(), **CALLS}
