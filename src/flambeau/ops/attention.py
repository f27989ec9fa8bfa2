"""Scaled dot product attention: in tiles, without the matrix of scores; composed where that must be differentiable."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import bool_, float32
from ..errors import fail
from ..shapes import numel, view_strides
from ..stream.graph import (
    Val,
    blank,
    cast,
    const,
    contiguous,
    expand,
    index_,
    map_,
    opaque,
    permuted,
    reduce_,
    store,
    turned,
)
from ..stream.value import LOCAL
from .contraction import contract, matmul, shaped, stacks
from .entry import FUNCTIONS, OT, N, T, composite, op
from .random import drawn, state_of
from .softmax import softmax
from .widening import is_low

Sizes = tuple[int, ...]
FEW_QUERIES = 12  # rows of one head of keys that need no tiles: their weights are as small as what they read
FEW_HEADS = 8  # heads of keys below which the queries are divided, too: each core has a part of the gradient
SEGMENT = 256  # queries of such a part, at least
FEW_WEIGHTS = 1 << 14  # with dropout so many are computed: their matrix is small, its gradient more exact


def _leads(query: Any, key: Any, value: Any, grouped: bool) -> tuple[Sizes, Sizes] | None:
    """The leading dimensions of queries and of keys in the kernel; None if the shapes are not the kernel's."""
    q, k, v = (tuple(x.shape[:-2]) for x in (query, key, value))
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return None
    if grouped:
        fits = q and k and q[:-1] == k[:-1] and k == v and k[-1] and q[-1] % k[-1] == 0
        return (q, k) if fits else None
    return (q, q) if q == k == v else None


def _four(x: Any, lead: Sizes, grouped: bool) -> Any:
    """(*lead, rows, size) as (batch, heads, rows, size)."""
    rows, size = x.shape[-2:]
    x = expand(x, (*lead, rows, size))
    if len(lead) == 2:
        return x
    split = len(lead) - 1 if grouped or len(lead) > 2 else len(lead)
    pair = (numel(lead[:split]), numel(lead[split:]))
    strides = view_strides(lead, x.strides[:-2], pair)
    if strides is None:
        x = contiguous(x)
        strides = (pair[1] * rows * size, rows * size)
    return x.view_as((*pair, rows, size), (*strides, *x.strides[-2:]), x.off)


def _grown(x: Any, rows: int) -> Any:
    """(batch, heads, rows, size) with zeros below."""
    if x.shape[2] == rows:
        return x
    out = blank((*x.shape[:2], rows, x.shape[3]), x.dtype)
    store(out.view_as(x.shape, out.strides, out.off), x)
    return out


def _back_to(x: Any, lead: Sizes) -> Any:
    """A result (batch, rows, heads, size) as (*lead, rows, size)."""
    batch, rows, heads, size = x.shape
    x = x.view_as((batch, heads, rows, size), (x.strides[0], size, heads * size, 1), x.off)
    if len(lead) == 2:
        return x
    strides: Any = view_strides((batch, heads), x.strides[:2], lead)
    if strides is None:
        return contiguous(x).reshape([*lead, rows, size])
    return x.view_as((*lead, rows, size), (*strides, *x.strides[-2:]), x.off)


def _normalised(scores: Any) -> tuple[Any, Any]:
    """(softmax, logsumexp) of rows; where nothing is seen all weights are 0 and the latter is infinite."""
    each, unseen, none = (*scores.shape[:-1], 1), const(-math.inf, scores.dtype), const(0, scores.dtype)
    top = reduce_("max", scores, (scores.ndim - 1,))
    top = map_("select", map_("eq", top, unseen, out=bool_), none, top)
    weights = map_("exp", map_("sub", scores, shaped(top, each)))
    total = reduce_("add", weights, (scores.ndim - 1,))
    blind = map_("eq", total, none, out=bool_)
    factor = map_("select", blind, none, map_("div", const(1, scores.dtype), total))
    lse = map_("select", blind, const(math.inf, scores.dtype), map_("add", top, map_("log", total)))
    return map_("mul", weights, shaped(factor, each)), lse


def _segments(heads: int, length: int) -> int:
    """Segments of the queries whose gradients of keys and values are computed apart and added."""
    found = 1
    while found * heads < FEW_HEADS and length >= 2 * found * SEGMENT:
        found *= 2
    return found


class _Call:
    """The operands of one attention as the kernel wants them."""

    def __init__(
        self, query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, grouped: bool
    ):
        self.lead, self.others = _leads(query, key, value, grouped) or ((), ())
        self.grouped = grouped
        self.dtype = query.dtype if query.dtype.itemsize >= 4 else float32
        self.q = self.four(query, self.lead)
        self.k, self.v = self.four(key, self.others), self.four(value, self.others)
        self.mask: tuple[Any, ...] = ()
        if mask is not None:
            mask = mask if mask.dtype is bool_ else cast(mask, self.dtype)
            self.mask = (
                _four(expand(mask, (*self.lead, self.q.shape[2], self.k.shape[2])), self.lead, grouped),
            )
        self.attrs = (scale, causal, self.q.shape[1] // self.k.shape[1])
        self.scores = (*self.q.shape[:3], self.k.shape[2])

    def four(self, x: Any, lead: Sizes) -> Any:
        """An operand in the dtype of the computation, with four dimensions."""
        return _four(cast(x, self.dtype), lead, self.grouped)

    def forward(self, *kept: Any) -> tuple[Any, Any]:
        """(result, logsumexp of each row). kept: of the weights, if some are dropped."""
        batch, heads, length, _ = self.q.shape
        if self.few(kept):
            return self.of_few()
        outs = [((batch, length, heads, self.v.shape[3]), self.dtype), ((batch, heads, length), self.dtype)]
        out, lse = opaque(
            "attend", (self.q, self.k, self.v, *self.mask, *kept), outs, ("forward", *self.attrs, bool(kept))
        )
        return _back_to(out, self.lead), lse

    def few(self, kept: tuple[Any, ...]) -> bool:
        """Whether products serve: the queries that share keys are few, or the scores take no more than what is read
        (half of that where half of them are hidden, which tiles leave out)."""
        rows, size = self.q.shape[2:]
        if kept or rows * self.attrs[2] <= FEW_QUERIES:
            return not kept
        source = self.k.shape[2]
        return rows * source * (2 if self.attrs[1] else 1) <= (rows + source) * min(size, self.v.shape[3])

    def rows(self, x: Any) -> Any:
        """(batch, heads of queries, rows, size) as stacks of matrices, one for each head of keys."""
        group = self.attrs[2]
        return x if group == 1 else shaped(contiguous(x), (*self.k.shape[:2], group * x.shape[2], x.shape[3]))

    def product(self, a: Any, b: Any, shape: Sizes) -> Any:
        """A stack of matrices times those of each head of keys, under another shape."""
        return shaped(contract(*stacks(a, b, self.k.shape[:2])), shape)

    def seen(self) -> tuple[Any, Any, Any]:
        """(scores, keys, values) of few queries, without keys that nobody sees; what is hidden is -inf."""
        scale, causal, _ = self.attrs
        k, v = self.k, self.v
        count = min(self.q.shape[2], k.shape[2]) if causal else k.shape[2]
        k, v = (x.view_as((*x.shape[:2], count, x.shape[3]), x.strides, x.off) for x in (k, v))
        shape = (*self.q.shape[:3], count)
        scores = map_("mul", self.product(self.rows(self.q), turned(k), shape), const(scale, self.dtype))
        unseen = const(-math.inf, self.dtype)
        if causal:
            seen = map_("le", index_(shape, 3), index_(shape, 2), out=bool_)
            scores = map_("select", seen, scores, unseen)
        for mask in self.mask:
            added = mask.dtype is not bool_
            scores = map_("add", scores, mask) if added else map_("select", mask, scores, unseen)
        return scores, k, v

    def of_few(self) -> tuple[Any, Any]:
        """`forward` for few queries or scores: all that share keys are the rows of two products, which read those once."""
        batch, heads, length, _ = self.q.shape
        scores, _, v = self.seen()
        weights, lse = _normalised(scores)
        made = self.product(self.rows(contiguous(weights)), v, (batch, heads, length, v.shape[3]))
        if length > 1:  # rows by rows in memory, as tiles are stored
            made = contiguous(permuted(made, (0, 2, 1, 3)))
        return _back_to(shaped(made, (batch, length, heads, v.shape[3])), self.lead), lse

    def back_of_few(self, grad: Any, lse: Any, delta: Any) -> tuple[Any, ...]:
        """`backward` for few queries or scores."""
        scores, k, v = self.seen()
        each = (*lse.shape, 1)
        weights = contiguous(map_("exp", map_("sub", scores, shaped(lse, each))))
        grad, whole = self.rows(contiguous(grad)), self.rows(contiguous(self.q))
        inner = map_("sub", self.product(grad, turned(v), scores.shape), shaped(delta, each))
        inner = map_("mul", map_("mul", weights, inner), const(self.attrs[0], self.dtype))
        inner, weights = self.rows(contiguous(inner)), self.rows(weights)
        dq = self.product(inner, k, self.q.shape)
        dk = self.product(turned(inner), whole, k.shape)
        dv = self.product(turned(weights), grad, v.shape)
        grown = (_grown(x, self.k.shape[2]) for x in (dk, dv))
        return tuple(
            shaped(x, (*lead, *x.shape[2:]))
            for x, lead in zip((dq, *grown), (self.lead, self.others, self.others))
        )

    def backward(self, grad: Any, result: Any, lse: Any, factor: Any = None, *kept: Any) -> tuple[Any, ...]:
        """The gradients of query, key and value; factor: of the weights that are kept."""
        grad, result = self.four(grad, self.lead), self.four(result, self.lead)
        delta = reduce_("add", map_("mul", grad, result), (3,))
        if self.few(kept):
            return self.back_of_few(grad, lse, delta)
        grad = grad if factor is None else map_("mul", grad, factor)
        operands = (self.q, self.k, self.v, grad, lse, delta.view_as(lse.shape, lse.strides, delta.off))
        segments = _segments(self.k.shape[0] * self.k.shape[1], self.q.shape[2])
        outs: Any = [
            ((x[0], x[2], x[1], x[3]), self.dtype) for x in (x.shape for x in (self.q, self.k, self.v))
        ]
        outs[1:] = [((shape[0], segments, *shape[1:]), dtype) for shape, dtype in outs[1:]]
        dq, *others = opaque(
            "attend", (*operands, *self.mask, *kept), outs, ("backward", *self.attrs, bool(kept))
        )
        dk, dv = (
            _back_to(
                reduce_("add", x, (1,)) if segments > 1 else shaped(x, (x.shape[0], *x.shape[2:])),
                self.others,
            )
            for x in others
        )
        return _back_to(dq, self.lead), dk, dv


def _all_gradients(
    grads: Any, query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, grouped: bool,
    result: Any, lse: Any, keep: Any = None, *kept: Any,
) -> tuple[Any, ...]:  # fmt: skip
    if type(query) is Val:
        call = _Call(query, key, value, mask, causal, scale, grouped)
        factor = _factor(keep, call.dtype) if kept else None
        return call.backward(grads[0], result, lse, factor, *kept)
    grad = grads[0]  # must be differentiable itself: op by op
    wide_k, wide_v = (_repeated(x, query, grouped) for x in (key, value))
    weights = _weights(query, wide_k, mask, causal, scale)
    inner = matmul(grad, wide_v.transpose(-2, -1))
    dropped = weights
    if kept:
        factors = kept[0].reshape(weights.shape).to(grad.dtype) / keep
        inner, dropped = inner * factors, weights * factors
    inner = weights * (inner - (inner * weights).sum(-1, keepdim=True)) * scale
    dk, dv = (matmul(a.transpose(-2, -1), b.to(a.dtype)) for a, b in ((inner, query), (dropped, grad)))
    if grouped:
        dk, dv = (x.unflatten(-3, (key.size(-3), -1)).sum(-3) for x in (dk, dv))
    return matmul(inner, wide_k), dk, dv


def _gradients(
    grads: Any, query: Any, key: Any, value: Any, mask: Any, causal: bool, scale: float, grouped: bool,
    result: Any, lse: Any,
) -> tuple[Any, ...]:  # fmt: skip
    return _all_gradients(grads, query, key, value, mask, causal, scale, grouped, result, lse)


@op(
    method=False,
    function=False,
    no_out=True,
    node="ScaledDotProductFlashAttentionForCpuBackward0",
    results=("result", "lse"),
    grad={"query, key, value": _gradients},
)
def _attention(query: T, key: T, value: T, mask: OT, causal: bool, scale: float, grouped: bool) -> Any:
    out, lse = _Call(query, key, value, mask, causal, scale, grouped).forward()
    return cast(out, query.dtype), lse


def _factor(keep: Any, dtype: Any) -> Any:
    return map_("div", const(1, dtype), cast(keep, dtype))


def _gradients_of_kept(
    grads: Any, query: Any, key: Any, value: Any, mask: Any, keep: Any, causal: bool, scale: float, grouped: bool,
    result: Any, lse: Any, kept: Any,
) -> tuple[Any, ...]:  # fmt: skip
    return _all_gradients(grads, query, key, value, mask, causal, scale, grouped, result, lse, keep, kept)


@op(
    method=False,
    function=False,
    no_out=True,
    node="ScaledDotProductFlashAttentionForCpuBackward0",
    results=("result", "lse", "kept"),
    constant=("kept",),
    grad={"query, key, value": _gradients_of_kept},
)
def _attention_with_dropout(
    query: T, key: T, value: T, mask: OT, state: T, keep: N, causal: bool, scale: float, grouped: bool
) -> Any:
    call = _Call(query, key, value, mask, causal, scale, grouped)
    kept = drawn("bernoulli", state, call.scores, bool_, keep)
    out, lse = call.forward(kept)
    return cast(map_("mul", out, _factor(keep, call.dtype)), query.dtype), lse, kept


def _repeated(x: Any, query: Any, grouped: bool) -> Any:
    return x.repeat_interleave(query.size(-3) // x.size(-3), -3) if grouped else x


def _weights(query: Any, key: Any, mask: Any, causal: bool, scale: float) -> Any:
    """softmax(Q K^T scale + mask); a row that may see nothing is zero."""
    root = math.sqrt(abs(scale))
    scores = matmul(query * math.copysign(root, scale), key.transpose(-2, -1) * root)
    hidden = None
    if causal:
        length, source = scores.shape[-2:]
        mask = FUNCTIONS["ones"](length, source, dtype=bool_).tril(0)
    if mask is not None:
        if mask.dtype is bool_:
            scores = scores.masked_fill(~mask, float("-inf"))
        else:
            scores = scores + mask
        hidden = (scores == float("-inf")).all(-1, keepdim=True)
        scores = scores.masked_fill(hidden, 0.0)  # no NaN, which its gradient would keep
    weights = softmax(scores, -1)
    return weights if hidden is None else weights.masked_fill(hidden, 0.0)


def _in_tiles(query: Any, key: Any, value: Any, mask: Any, p: float, grouped: bool) -> bool:
    """Whether the kernel computes it: no gradient of the mask, shapes that are not empty and agree."""
    if p >= 1.0 or min(query.ndim, key.ndim, value.ndim) < 2:
        return False
    if p > 0.0 and numel(query.shape[:-1]) * key.shape[-2] <= FEW_WEIGHTS:
        return False
    if not query.dtype.is_floating_point or not query.dtype is key.dtype is value.dtype:
        return False
    if 0 in (*query.shape, *key.shape, *value.shape) or _leads(query, key, value, grouped) is None:
        return False
    if mask is None:
        return True
    if (mask.requires_grad and LOCAL.s.grad) or not (mask.dtype is bool_ or mask.dtype.is_floating_point):
        return False
    wanted = (*query.shape[:-1], key.shape[-2])
    lead = len(wanted) - mask.ndim
    return lead >= 0 and all(n in (1, w) for n, w in zip(mask.shape, wanted[lead:]))


@composite(method=False, function=False, nn=True)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(Q K^T scale + mask) V over the last two dimensions of (..., L, E), (..., S, E) and (..., S, Ev).

    attn_mask: booleans (who may be seen) or numbers to be added, broadcast to (..., L, S); is_causal: row i sees keys
    0..i; scale: 1 / sqrt(E) if not given; enable_gqa: heads (dimension -3) of keys and values are shared by groups of
    queries. A row that may see nothing is zero. Computed in tiles, or by two products for up to 12 queries that share
    keys, with memory in proportion to L + S; with dropout there is one byte for each weight (its random number is that
    of `dropout`); with dropout of a few weights, a mask that needs a gradient, or a gradient of a gradient, the weights
    (..., L, S) are computed.
    """
    if is_causal and attn_mask is not None:
        fail(
            RuntimeError,
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True",
        )
    factor = 1.0 / math.sqrt(query.shape[-1] or 1) if scale is None else float(scale)
    if _in_tiles(query, key, value, attn_mask, dropout_p, enable_gqa):
        options = (bool(is_causal), factor, bool(enable_gqa))
        if dropout_p > 0.0:
            state, keep = state_of(None), 1.0 - dropout_p
            return _attention_with_dropout(query, key, value, attn_mask, state, keep, *options)[0]
        return _attention(query, key, value, attn_mask, *options)[0]
    low = query.dtype if is_low(query.dtype) else None
    if low is not None:  # scores and weights are not rounded, as in tiles and in PyTorch
        query, key, value = query.float(), key.float(), value.float()
    key, value = (_repeated(x, query, enable_gqa) for x in (key, value))
    weights = _weights(query, key, attn_mask, is_causal, factor)
    if dropout_p > 0.0:
        weights = FUNCTIONS["dropout"](weights, dropout_p, True)
    made = matmul(weights, value)
    return made if low is None else made.to(low)
