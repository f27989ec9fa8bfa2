"""How each op and view of one sample is done for the whole batch at once.

The batch is dimension 0 of every value. Most ops need nothing but that: `pointwise` ones align their operands, others
find their dimensions one further behind. What has no rule is done sample by sample and stacked (`one_by_one`), which is
always right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import Tensor
from ..tensor.indexing import apply_basic, as_items, gather, getitem
from .batched import Level, aligned, batch_of, is_batched, top, widened, wrap
from .trees import change, leaves, rebuild, tensors

RULES: dict[str, Callable[[Call], Any]] = {}
VIEWS: dict[str, Callable[..., Any]] = {}
POINTWISE = {
    "elementwise",
    "unary",
    "compare",
    "ternary",
    "activation",
    "special",
    "complex",
    "bessel",
    "polynomials",
}


class Call:
    """One call of an op with samples among its arguments. at: the arguments by name."""

    def __init__(self, func: Any, args: Any, kwargs: Any, level: Level):
        entry = func.entry
        self.entry, self.func, self.level = entry, func, level
        self.into = func.__name__ != entry.name and func.__name__.endswith("_")
        self.at: dict[str, Any] = dict(zip(entry.positional, args)) | kwargs
        for p in entry.params:
            if p not in self.at:
                self.at[p] = entry.defaults[p]
        self.out = None if "out" in entry.params else self.at.pop("out", None)

    def tensors(self) -> list[Any]:
        """All operands that are tensors."""
        return tensors([self.at[p] for p in self.entry.params])

    def given(self, p: str) -> bool:
        """Whether an argument is a sample of this level."""
        return is_batched(self.at[p], self.level)

    def whole(self, p: str) -> Any:
        """The batch of an argument; None if it is none."""
        v = self.at[p]
        return batch_of(v, self.level) if isinstance(v, Tensor) else v

    def run(call, /, **changed: Any) -> Any:
        """The op itself with other arguments, in place if the call was."""
        values = call.at | changed
        entry, n = call.entry, len(call.entry.positional)
        args = [values[p] for p in entry.params]
        return call.func(*args[:n], **dict(zip(entry.params[n:], args[n:])))

    def one_by_one(self) -> Any:
        """The op of one sample after the other."""
        rows = [self.run(**sample(self.at, self.level, i)) for i in range(self.level.size)]
        return None if self.into else stacked(rows)


def apply(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A call with samples among its arguments: the whole batch at once."""
    level = top(leaves((args, kwargs)))
    if level is None:
        return NotImplemented
    entry = getattr(func, "entry", None)
    if entry is None:
        if func is getitem:
            return item(*args)
        rule = VIEWS.get(func.__name__)
        if rule is None:
            return wrapped(
                stacked([func(*sample(args, level, i), **kwargs) for i in range(level.size)]), level
            )
        return wrap(rule(func, args[0].value, *args[1:]), level)
    call = Call(func, args, kwargs, level)
    if call.out is not None:
        raise RuntimeError(f"vmap: {entry.name} has no out= form for samples of a batch; use its result")
    first = call.at[entry.params[0]]
    if call.into and not is_batched(first, level):
        raise RuntimeError(
            f"vmap: inplace arithmetic({func.__name__}) is not possible because there exists a Tensor `other` in "
            "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but `self` "
            "not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace arithmetic."
        )
    if "state" in call.at:
        made = random(call)
    else:
        family = (entry.fn.__module__ or "").rpartition(".")[2]
        rule = RULES.get(entry.name) or (pointwise if family in POINTWISE else Call.one_by_one)
        made = rule(call)
    return first if call.into else wrapped(made, level)


def item(x: Any, index: Any) -> Any:
    """x[index] by views and `_index`."""
    view, picks = apply_basic(x, as_items(index))
    return gather(view, picks) if picks else FUNCTIONS["alias"](view) if view is x else view


def wrapped(made: Any, level: Level) -> Any:
    """Results of a batch as samples."""
    return change(lambda m: wrap(m, level) if isinstance(m, Tensor) else m, made)


def sample(args: Any, level: Level, i: int) -> Any:
    """Sample i of the arguments."""
    return change(lambda v: FUNCTIONS["select"](v.value, 0, i) if is_batched(v, level) else v, args)


def stacked(rows: list[Any]) -> Any:
    """The results of all samples as a batch."""
    columns = zip(*map(leaves, rows))
    made = [FUNCTIONS["stack"](list(c)) if isinstance(c[0], Tensor) else c[0] for c in columns]
    return rebuild(rows[0], iter(made))


def rule(*names: str) -> Callable[[Any], Any]:
    """Declare the rule of ops."""

    def declare(fn: Any) -> Any:
        for name in names:
            RULES[name] = fn
        return fn

    return declare


# --- operands that broadcast, and dimensions one further behind ------------------------------------------------------


@rule("logit", "nan_to_num", "_at_least", "_root", "_one_hot", "_drawn_like", "_normal_of")
def pointwise(c: Call) -> Any:
    """Operands of one rank, behind the batch. A sample without dimensions gives way in promotion as any other."""
    rank = max(t.ndim for t in c.tensors())
    made = c.run(
        **{p: aligned(c.at[p], c.level, rank) for p in c.entry.params if isinstance(c.at[p], Tensor)}
    )
    if c.into or min(t.ndim for t in c.tensors()) or rank == 0 or not isinstance(made, Tensor):
        return made
    d = c.entry.form(tuple([c.at[p] for p in c.entry.params])).outs[0][0].dtype
    return made if made.dtype is d else made.to(d)


DIMS = ("dim", "dims", "dim1", "dim2")


def by_dim(c: Call) -> Any:
    """An op of one tensor along dimensions, which stand one further behind; None stands for all of them."""
    first = c.entry.params[0]
    x = c.whole(first)
    rank = x.ndim - 1
    changed: dict[str, Any] = {}
    if not rank:
        x = x.unsqueeze(1)
    for p in DIMS:
        if p not in c.at:
            continue
        d = c.at[p]
        several = c.entry.kinds[p] == "Dims" or type(d) is tuple
        if d is None or d == ():
            if several:
                changed[p] = tuple(range(1, x.ndim))
            else:
                keep = [1] * rank if c.at.get("keepdim") else []
                flat = {first: x.reshape(x.shape[0], -1), p: 1}
                made = c.run(**flat, **dict.fromkeys(c.at.keys() & {"keepdim"}, False))
                return made.reshape(made.shape[0], *keep) if isinstance(made, Tensor) else made
        else:
            changed[p] = behind(d, max(rank, 1))
    made = c.run(**{first: x}, **changed)
    return made if rank else scalars(made)


def behind(value: Any, rank: int) -> Any:
    """Dimensions of a sample as those of its batch."""
    if type(value) in (tuple, list):
        return tuple([behind(d, rank) for d in value])
    return value % rank + 1


def scalars(made: Any) -> Any:
    """Results of samples without dimensions, which were given one."""
    return change(lambda m: m.squeeze(1) if isinstance(m, Tensor) and m.ndim == 2 else m, made)


for _name in (
    *("_sum", "_mean", "amax", "amin", "_max_dim", "_min_dim", "argmax", "argmin", "all", "any"),
    *("_var", "_std", "_nanmedian_dim", "_mode", "_fft_c2c", "_fft_r2c", "_fft_c2r", "glu"),
    *("logsumexp", "_softmax", "_log_softmax", "_vector_norm", "cumsum", "cumprod", "cummax", "cummin"),
    *("_logcumsumexp", "_prod", "nansum", "count_nonzero", "_sort", "_topk", "_kthvalue", "_median_dim"),
):
    RULES[_name] = by_dim


@rule("_sum_all", "_mean_all", "_max_all", "_min_all")
def over_all(c: Call) -> Any:
    """A reduction of everything: along the one dimension of each sample."""
    x = c.whole("self")
    whole = x.reshape(x.shape[0], -1)
    return {"_sum_all": whole.sum, "_mean_all": whole.mean, "_max_all": whole.amax, "_min_all": whole.amin}[
        c.entry.name
    ](1)


@rule("_roll")
def rolled(c: Call) -> Any:
    """Along dimensions; without any, through the elements in order."""
    x = c.whole("self")
    if c.at["dims"]:
        return c.run(self=x, dims=behind(c.at["dims"], x.ndim - 1))
    return c.run(self=x.reshape(x.shape[0], -1), dims=(1,)).reshape(x.shape)


@rule("_flip")
def flipped(c: Call) -> Any:
    """Along dimensions, if any."""
    x = c.whole("self")
    return c.run(self=x, dims=behind(c.at["dims"], x.ndim - 1)) if x.ndim > 1 else x.clone()


@rule("masked_fill")
def filled(c: Call) -> Any:
    """A value of each sample's own is chosen from."""
    x, mask, value = c.at["self"], c.at["mask"], c.at["value"]
    if not is_batched(value, c.level):
        return pointwise(c)
    if c.into:
        x.value.copy_(_chosen(c, mask, value, x))
        return None
    return _chosen(c, mask, value, x)


def _chosen(c: Call, mask: Any, value: Any, x: Any) -> Any:
    rank = max(x.ndim, mask.ndim)
    value = value.value.to(x.dtype).reshape(-1, *[1] * rank)
    return FUNCTIONS["_where"](aligned(mask, c.level, rank), value, aligned(x, c.level, rank))


@rule(
    *("linalg_inv", "linalg__singular", "_cofactors", "det", "linalg_slogdet", "linalg_cholesky_ex", "linalg__eigh"),
    *("linalg__svd", "linalg__qr", "linalg__eig", "matrix_exp", "_pinv", "_rank", "_lu_factor", "_geqrf"),
    *("_triangular", "_cholesky_solved", "linalg__singular_values", "linalg__inv_unchecked", "_cross_product"),
    *("linalg__eigenvalues", "linalg__eigenvalues_of_any"),
    *("tril", "triu", "_padded_with", "_cut_or_padded_with", "_pad_mode", "diag_embed", "_cofactors_back", "_solve"),
    *("gather", "_scatter_src", "_scatter_value", "scatter_add", "scatter_reduce", "_scatter_with", "_scatter_prod"),
    *("_scatter_add_direct", "__scatter_src_direct", "__scatter_value_direct", "_scatter_reduce_direct"),
    *("__scatter_with_direct", "__scatter_prod_direct", "select_scatter", "slice_scatter", "_search", "_permutation"),
)  # fmt: skip
def with_batch(c: Call) -> Any:
    """Ops whose operands may have dimensions in front, the same ones for all."""
    tensors = [p for p in c.entry.params if isinstance(c.at[p], Tensor)]
    rank = c.at[tensors[0]].ndim
    mixed = any(c.at[p].ndim != rank for p in tensors)
    if not rank or (mixed and c.entry.name != "_search"):
        return c.one_by_one()
    if c.entry.name == "diag_embed":
        rank += 1
    dims = {p: behind(c.at[p], rank) for p in DIMS if p in c.at}
    return c.run(**{p: c.whole(p) for p in tensors}, **dims)


# --- views ------------------------------------------------------------------------------------------------------------


def view_rule(*names: str) -> Callable[[Any], Any]:
    """Declare the rule of views: (the view's function, the batch, its arguments) to the batch of the view."""

    def declare(fn: Any) -> Any:
        for name in names:
            VIEWS[name] = fn
        return fn

    return declare


@view_rule("permute")
def _permuted(f: Any, x: Any, dims: Any) -> Any:
    return f(x, (0, *behind(tuple(dims), x.ndim - 1)))


@view_rule("transpose")
def _transposed(f: Any, x: Any, a: int, b: int) -> Any:
    return x if x.ndim == 1 else f(x, *behind((a, b), x.ndim - 1))


@view_rule("t")
def _turned(f: Any, x: Any) -> Any:
    return x if x.ndim < 3 else FUNCTIONS["transpose"](x, 1, 2)


@view_rule("expand")
def _expanded(f: Any, x: Any, to: Any) -> Any:
    return f(widened(x, len(to)), (x.shape[0], *to))


@view_rule("view", "_unsafe_view")
def _viewed(f: Any, x: Any, to: Any) -> Any:
    return f(x, (x.shape[0], *to))


@view_rule("unsqueeze")
def _unsqueezed(f: Any, x: Any, dim: int) -> Any:
    return f(x, behind(dim, x.ndim))


@view_rule("squeeze")
def _squeezed(f: Any, x: Any, dims: Any) -> Any:
    return f(x, tuple([d + 1 for d in dims]))


@view_rule("slice", "select", "unfold")
def _part(f: Any, x: Any, dim: int, *rest: Any) -> Any:
    if x.ndim == 1:  # windows of a number
        return f(x.unsqueeze(1), 1, *rest).squeeze(1)
    return f(x, behind(dim, x.ndim - 1), *rest)


@view_rule("diagonal")
def _diagonal(f: Any, x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return f(x, offset, *behind((dim1, dim2), x.ndim - 1))


@view_rule("as_strided")
def _strided(f: Any, x: Any, size: Any, stride: Any, off: int) -> Any:
    return f(x, (x.shape[0], *size), (x._meta.strides[0], *stride), off)


@view_rule("alias", "view_as_real", "view_as_complex", "real", "imag", "conj")
def _same(f: Any, x: Any, *rest: Any) -> Any:
    return f(x, *rest)


# --- products ---------------------------------------------------------------------------------------------------------


def product(a: Any, b: Any, level: Level) -> Any:
    """matmul of samples with at least one dimension, by the product of stacks."""
    ra, rb = a.ndim, b.ndim
    if not is_batched(a, level) and not is_batched(b, level):
        return FUNCTIONS["matmul"](a, b)
    if ra == 1 and rb == 1:
        return (batch_of(a, level) * batch_of(b, level)).sum(1)
    left = aligned(FUNCTIONS["unsqueeze"](a, 0) if ra == 1 else a, level, max(ra, rb, 2))
    right = aligned(FUNCTIONS["unsqueeze"](b, 1) if rb == 1 else b, level, max(ra, rb, 2))
    made = FUNCTIONS["_stacked"](left, right)
    return made.squeeze(-2) if ra == 1 else made.squeeze(-1) if rb == 1 else made


@rule("mm", "bmm", "mv", "_stacked")
def product_rule(c: Call) -> Any:
    """A product alone."""
    a, b = (c.at[p] for p in c.entry.params)
    return product(a, b, c.level)


@rule("_stacked_linear")
def stacked_linear_rule(c: Call) -> Any:
    """A product alone, by the transposes of its second operand."""
    return stacked_linear(c.at["self"], c.at["weight"], c.level)


def stacked_linear(x: Any, w: Any, level: Level) -> Any:
    """x @ w.T for stacks of matrices of each sample."""
    rank = max(x.ndim, w.ndim)
    return FUNCTIONS["_stacked_linear"](aligned(x, level, rank), aligned(w, level, rank))


@rule("dot")
def dot_rule(c: Call) -> Any:
    """Sums of products."""
    return (c.whole("self") * c.whole("tensor")).sum(1)


RANKS = {"addmm": 2, "addmv": 1, "baddbmm": 3, "addbmm": 2, "addr": 2}  # of the results


@rule(*RANKS)
def added_product(c: Call) -> Any:
    """beta * self + alpha * product."""
    name, alpha, beta = c.entry.name, c.at["alpha"], c.at["beta"]
    _, p, q = c.entry.params[:3]
    if c.into or (beta == 0 and not (c.given(p) or c.given(q))):
        return c.one_by_one()
    a, b = c.at[p], c.at[q]
    if name == "addr":
        a, b = FUNCTIONS["unsqueeze"](a, 1), FUNCTIONS["unsqueeze"](b, 0)
    made = product(a, b, c.level)
    if name == "addbmm":
        made = made.sum(-3)
    made = made if alpha == 1 else made * alpha
    if beta == 0:
        return made
    at = aligned(c.at["self"], c.level, RANKS[name])
    return made + (at if beta == 1 else at * beta)


@rule("linear")
def linear_rule(c: Call) -> Any:
    """input @ weight.T + bias; a weight of each sample's own makes it a product of stacks."""
    x, w, b = c.at["input"], c.at["weight"], c.at["bias"]
    if not c.given("weight"):
        if not c.given("bias"):
            return c.run(input=x.value)
        made = FUNCTIONS["linear"](x.value if c.given("input") else x, w)
        return made + aligned(b, c.level, x.ndim)
    rank = x.ndim
    if w.ndim == 1:
        made = product(x, w, c.level)
    else:
        rows = x if rank == 2 else x.reshape(-1, x.shape[-1])
        made = stacked_linear(rows, w, c.level)
        made = made.reshape(made.shape[0], *x.shape[:-1], w.shape[0])
    return made if b is None else made + aligned(b, c.level, rank + w.ndim - 2)


# --- random numbers ---------------------------------------------------------------------------------------------------


def random(c: Call) -> Any:
    """A draw: of its own for each sample, or the same for all."""
    state, level = c.at["state"], c.level
    differs = is_batched(state, level)
    c.at["state"] = state.value if differs else state
    if differs and "shape" in c.at and "self" not in c.at:
        return c.run(shape=(level.size, *c.at["shape"]))
    if c.entry.name in ("_native_dropout", "_dropout") and not differs:
        x = c.at["self"].value
        ones = FUNCTIONS["ones"](tuple(c.at["self"].shape), dtype=x.dtype)
        made = c.run(self=ones)
        if isinstance(made, tuple):
            return (x * made[0], *[batch_of(m, level) for m in made[1:]])
        return x * made
    if c.entry.name in (
        "_native_dropout",
        "_dropout",
        "_draw_poisson",
        "_draw_gamma",
        "_draw_binomial",
        "_draw_each",
    ):
        first = next(p for p in c.entry.params if p not in ("state",) and isinstance(c.at[p], Tensor))
        return c.run(**{first: batch_of(c.at[first], level)})
    if differs:
        return c.one_by_one()
    raise NotImplementedError(f"vmap: {c.entry.name.strip('_')} with randomness='same' is not supported")
