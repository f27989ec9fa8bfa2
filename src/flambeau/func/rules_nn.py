"""The rules of vmap for joins, indexing, layers and losses."""

from __future__ import annotations

import itertools
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from .batched import aligned, batch_of, is_batched, widened
from .rules import Call, behind, rule
from .trees import change


@rule("_cat", "_stack")
def joined(c: Call) -> Any:
    """Batches side by side."""
    parts, dim = c.at["tensors"], c.at["dim"]
    rank = max(t.ndim for t in parts) + (c.entry.name == "_stack")
    if any(t.ndim != parts[0].ndim for t in parts):
        return c.one_by_one()
    return c.run(tensors=[batch_of(t, c.level) for t in parts], dim=behind(dim, rank))


@rule("_repeat")
def repeated(c: Call) -> Any:
    """The batch once."""
    return c.run(self=aligned(c.at["self"], c.level, len(c.at["repeats"])), repeats=(1, *c.at["repeats"]))


@rule("_sum_to")
def summed_to(c: Call) -> Any:
    """Each sample to its size."""
    lead = c.at["self"].ndim - len(c.at["size"])
    made = c.run(self=c.whole("self"), size=(c.level.size, *[1] * lead, *c.at["size"]))
    return made.reshape(c.level.size, *c.at["size"]) if lead else made


@rule("trace")
def traced(c: Call) -> Any:
    """The sum of each diagonal."""
    return FUNCTIONS["diagonal"](c.whole("self"), 0, 1, 2).sum(1)


# --- indexing ---------------------------------------------------------------------------------------------------------


def in_front(x: Any, dims: tuple[int, ...]) -> Any:
    """The dimensions that are indexed behind the batch's, the others after them."""
    left = [d for d in range(1, x.ndim) if d - 1 not in dims]
    return x.permute(0, *[d + 1 for d in dims], *left)


def of_samples(c: Call, x: Any, indices: Any) -> tuple[list[Any], int]:
    """Indices with one for the sample in front, and the number of their dimensions."""
    rank = max(i.ndim for i in indices)
    own = FUNCTIONS["arange"](c.level.size).reshape(-1, *[1] * rank)
    return [own, *[aligned(i, c.level, rank) for i in indices]], rank


def placed(at: int, rank: int, total: int) -> tuple[int, ...]:
    """The order of dimensions that brings those of indices (1 .. rank) before dimension `at` of what is left."""
    rest = list(range(1 + rank, total))
    return (0, *rest[:at], *range(1, 1 + rank), *rest[at:])


def position(dims: tuple[int, ...]) -> int:
    """Where the dimensions of indices stand in the result."""
    return dims[0] if all(b == a + 1 for a, b in itertools.pairwise(dims)) else 0


@rule("_index")
def indexed(c: Call) -> Any:
    """Elements at computed places of each sample."""
    x, indices, dims = c.whole("self"), c.at["indices"], tuple([d % c.at["self"].ndim for d in c.at["dims"]])
    every, rank = of_samples(c, x, indices)
    made = c.run(self=in_front(x, dims), indices=every, dims=tuple(range(len(dims) + 1)))
    return made.permute(placed(position(dims), rank, made.ndim))


@rule("index_select")
def selected(c: Call) -> Any:
    """Slices of each sample: the same ones, or each its own."""
    rank = c.at["self"].ndim
    if not c.given("index") and rank:
        return c.run(self=c.whole("self"), dim=behind(c.at["dim"], rank))
    if not rank or c.at["index"].ndim == 0:
        return c.one_by_one()
    dim = c.at["dim"] % rank
    x = in_front(c.whole("self"), (dim,))
    every, _ = of_samples(c, x, [c.at["index"]])
    made = FUNCTIONS["_index"](x, every, (0, 1))
    return made.permute(placed(dim, 1, made.ndim))


@rule("_index_put")
def put(c: Call) -> Any:
    """Values at computed places of each sample, in a copy."""
    rank, dims = c.at["self"].ndim, tuple([d % c.at["self"].ndim for d in c.at["dims"]])
    x = c.whole("self")
    every, mid = of_samples(c, x, c.at["indices"])
    front = in_front(x, dims)
    left = rank - len(dims)
    values, at = c.at["values"], position(dims)
    if at and values.ndim:  # the values' dimensions in the order of the front
        values = widened(batch_of(values, c.level), mid + left)
        values = values.permute(
            0,
            *[1 + at + k for k in range(mid)],
            *[1 + k for k in range(at)],
            *range(1 + at + mid, values.ndim),
        )
    else:
        values = aligned(values, c.level, mid + left)
    made = c.run(self=front, indices=every, values=values, dims=tuple(range(len(dims) + 1)))
    back = [0] * (rank + 1)
    order = [0, *[d + 1 for d in dims], *[d for d in range(1, rank + 1) if d - 1 not in dims]]
    for k, d in enumerate(order):
        back[d] = k
    return made.permute(back)


@rule("_embedding")
def embedded(c: Call) -> Any:
    """Rows of one table, or of a table of each sample's own."""
    if not c.given("weight"):
        return c.run(indices=c.whole("indices"))
    if c.at["padding_idx"] >= 0 or c.at["scale_grad_by_freq"]:
        return c.one_by_one()
    every, _ = of_samples(c, c.at["weight"].value, [c.at["indices"]])
    return FUNCTIONS["_index"](c.at["weight"].value, every, (0, 1))


@rule(
    "index_add", "index_copy", "index_fill", "_index_add_direct", "_index_copy_direct", "_index_fill_direct"
)
def at_index(c: Call) -> Any:
    """Slices at the same places of all samples."""
    rank = c.at["self"].ndim
    value = c.at.get("value")
    if c.given("index") or not rank or is_batched(value, c.level):
        return c.one_by_one()
    source = {"source": c.whole("source")} if "source" in c.at else {}
    if source and c.at["source"].ndim != rank:
        return c.one_by_one()
    return c.run(self=c.whole("self"), dim=behind(c.at["dim"], rank), **source)


# --- layers -----------------------------------------------------------------------------------------------------------


def as_samples(made: Any, size: int) -> Any:
    """Results of samples that went as images: the batch in front again."""
    return change(lambda m: m.reshape(size, m.shape[0] // size, *m.shape[1:]), made)


@rule("native_layer_norm", "_fused_rms_norm")
def normalised(c: Call) -> Any:
    """Statistics of the last dimensions; scales of each sample's own are applied behind."""
    x = c.whole("input")
    scales = {p: c.at[p] for p in ("weight", "bias") if p in c.at}
    if not any(is_batched(s, c.level) for s in scales.values()):
        return c.run(input=x)
    made = c.run(input=x, **dict.fromkeys(scales))
    y = made[0] if isinstance(made, tuple) else made
    rank = c.at["input"].ndim
    if scales["weight"] is not None:
        y = y * aligned(scales["weight"], c.level, rank)
    if scales.get("bias") is not None:
        y = y + aligned(scales["bias"], c.level, rank)
    return (y, *made[1:]) if isinstance(made, tuple) else y


@rule("_group_norm")
def normalised_groups(c: Call) -> Any:
    """Samples as images."""
    x = c.whole("input")
    if c.given("weight") or c.given("bias"):
        y, *stats = c.run(input=x.flatten(0, 1), weight=None, bias=None)
        y = y.reshape(x.shape)
        apart = [1] * (x.ndim - 3)
        for p in ("weight", "bias"):
            if c.at[p] is not None:
                s = batch_of(c.at[p], c.level)
                s = s.reshape(s.shape[0], 1, s.shape[1], *apart)
                y = y * s if p == "weight" else y + s
        return (y, *as_samples(stats, c.level.size))
    return as_samples(c.run(input=x.flatten(0, 1)), c.level.size)


@rule("_conv")
def convolved(c: Call) -> Any:
    """Samples as images; with weights of each sample's own, as groups of channels."""
    x, w, b, groups = c.at["input"], c.at["weight"], c.at["bias"], c.at["groups"]
    size = c.level.size
    if not c.given("weight") and not c.given("bias"):
        return as_samples(c.run(input=x.value.flatten(0, 1)), size)
    if not c.given("weight"):
        made = c.run(input=x.value.flatten(0, 1) if c.given("input") else x, bias=None)
        made = as_samples(made, size) if c.given("input") else made
        return made + b.value.reshape(size, 1, -1, *[1] * (x.ndim - 2))
    whole = batch_of(x, c.level).transpose(0, 1).flatten(1, 2)  # (images, samples * channels, ...)
    bias = None if b is None else batch_of(b, c.level).reshape(-1)
    made = c.run(input=whole, weight=w.value.flatten(0, 1), bias=bias, groups=size * groups)
    return made.reshape(made.shape[0], size, -1, *made.shape[2:]).transpose(0, 1)


@rule("_max_pool", "_avg_pool", "_enlarged")
def pooled(c: Call) -> Any:
    """Samples as images."""
    return as_samples(c.run(self=c.whole("self").flatten(0, 1)), c.level.size)


@rule("native_batch_norm")
def batch_normalised(c: Call) -> Any:
    """Channels of all samples side by side: each sample has its own statistics."""
    x = c.whole("input")
    means = [c.at[p] for p in ("running_mean", "running_var")]
    training = c.at["training"]
    if training and any(m is not None and not is_batched(m, c.level) for m in means):
        raise RuntimeError(
            "vmap: batch_norm would update running statistics that are the same for all samples in place; "
            "use track_running_stats=False, eval mode, or statistics of each sample's own"
        )
    if training and any(m is not None for m in means):
        return c.one_by_one()
    size, channels = c.level.size, c.at["input"].shape[1]
    flat = x.transpose(0, 1).flatten(1, 2)
    changed = {
        p: None if c.at[p] is None else batch_of(c.at[p], c.level).reshape(-1)
        for p in ("weight", "bias", "running_mean", "running_var")
    }
    y, *rest = c.run(input=flat, **changed)
    y = y.reshape(y.shape[0], size, channels, *y.shape[2:]).transpose(0, 1)
    return (y, *[r.reshape(size, -1) for r in rest])


@rule("_attention")
def attended(c: Call) -> Any:
    """Leading dimensions are many attentions anyway."""
    q, k, v, mask = (c.at[p] for p in ("query", "key", "value", "mask"))
    if c.at["grouped"] or not q.ndim == k.ndim == v.ndim or q.ndim > 4:
        return c.one_by_one()
    whole = {p: c.whole(p) for p in ("query", "key", "value")}
    rank = q.ndim
    if rank == 4:  # two dimensions in front are one
        whole = {p: t.flatten(0, 1) for p, t in whole.items()}
    if mask is not None:
        if rank == 4 and not (is_batched(mask, c.level) or mask.ndim == 4):
            whole["mask"] = mask
        else:
            m = aligned(mask, c.level, rank) if is_batched(mask, c.level) else batch_of(mask, c.level)
            m = widened(m, rank)
            whole["mask"] = (
                m.expand(m.shape[0], *q.shape[:-2], *m.shape[-2:]).flatten(0, 1) if rank == 4 else m
            )
    made = c.run(**whole)
    return as_samples(made, c.level.size) if rank == 4 else made


@rule("_lstm_gates", "_gru_gates")
def gated(c: Call) -> Any:
    """Samples as rows."""
    first = c.at[c.entry.params[0]]
    if first.ndim != 2:
        return c.one_by_one()
    return as_samples(c.run(**{p: c.whole(p).flatten(0, 1) for p in c.entry.params}), c.level.size)


@rule("_mixed")
def mixed(c: Call) -> Any:
    """Sums of elements along one dimension, the same ones for all samples."""
    if any(c.given(p) for p in ("index", "weight", "back", "weight_back")):
        return c.one_by_one()
    return c.run(self=c.whole("self"), dim=c.at["dim"] + 1)


@rule("_grid_sampled_2d", "_grid_sampled_3d")
def grid_sampled(c: Call) -> Any:
    """Samples as images."""
    return as_samples(c.run(**{p: c.whole(p).flatten(0, 1) for p in ("input", "grid")}), c.level.size)


@rule("_conv_data")
def convolved_back(c: Call) -> Any:
    """Samples as images; with weights of each sample's own, as groups of channels."""
    y, size, shape = c.whole("y"), c.level.size, c.at["shape"]
    if not c.given("weight"):
        return as_samples(c.run(y=y.flatten(0, 1), shape=(size * shape[0], *shape[1:])), size)
    whole = y.transpose(0, 1).flatten(1, 2)
    shape = (shape[0], size * shape[1], *shape[2:])
    made = c.run(
        y=whole, weight=c.at["weight"].value.flatten(0, 1), shape=shape, groups=size * c.at["groups"]
    )
    return made.reshape(shape[0], size, -1, *shape[2:]).transpose(0, 1)


# --- losses -----------------------------------------------------------------------------------------------------------


@rule(
    *("_mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "binary_cross_entropy"),
    "binary_cross_entropy_with_logits",
)
def compared(c: Call) -> Any:
    """The loss of each element, reduced sample by sample."""
    if c.at["reduction"] == "batchmean":
        return c.one_by_one()
    rank = max(t.ndim for t in c.tensors())
    given = {p: aligned(c.at[p], c.level, rank) for p in c.entry.params if isinstance(c.at[p], Tensor)}
    if c.entry.name[:6] == "binary":  # these want operands of one shape
        for p in ("self", "target"):
            given[p] = batch_of(c.at[p], c.level)
    return reduced(c.run(**given, reduction="none"), c.at["reduction"])


def reduced(each: Any, reduction: str) -> Any:
    """The mean or the sum of each sample."""
    if reduction == "none":
        return each
    flat = each.reshape(each.shape[0], -1)
    return flat.mean(1) if reduction == "mean" else flat.sum(1)


@rule("_nll_loss", "_cross_entropy")
def classified(c: Call) -> Any:
    """Samples as images; the mean of each divides by the weights of its own targets."""
    x, y, weight = c.at["self"], c.at["target"], c.at["weight"]
    if is_batched(weight, c.level):
        return c.one_by_one()
    wide, target = batch_of(x, c.level), batch_of(y, c.level)
    shape = target.shape
    if x.ndim > 1:
        wide, target = wide.flatten(0, 1), target.flatten(0, 1)
    each = c.run(self=wide, target=target, reduction="none").reshape(shape)
    reduction = c.at["reduction"]
    if reduction != "mean":
        return reduced(each, reduction)
    counted = FUNCTIONS["_target_weights"](target, weight, wide, c.at["ignore_index"]).reshape(shape)
    return reduced(each, "sum") / reduced(counted, "sum")


# --- what only gradients of views ask for -----------------------------------------------------------------------------


@rule("slice_backward")
def slice_back(c: Call) -> Any:
    """Zeros around each sample."""
    room = c.at["room"]
    return c.run(self=c.whole("self"), room=(c.level.size, *room), dim=behind(c.at["dim"], len(room) - 2))
