"""Properties of a tensor, and the methods that concern its graph."""

from __future__ import annotations

from typing import Any

from ..dtypes import strided
from ..errors import fail
from ..ops.entry import FUNCTIONS
from ..ops.modes import default_torch_function, disabled_torch_function
from ..stream import gradient
from ..stream.graph import Val
from ..stream.value import INFERENCE, LOCAL, PLAIN, Tensor, extras, version_of


def install() -> None:
    """Put the properties on Tensor (and the ones that make sense on Val)."""
    for name, get in GETTERS.items():
        setattr(Tensor, name, property(get, SETTERS.get(name), DELETERS.get(name)))
    for name, fn in METHODS.items():
        setattr(Tensor, name, fn)
    Tensor.__torch_function__ = classmethod(default_torch_function)  # type: ignore[attr-defined]
    Tensor.as_subclass = as_subclass  # type: ignore[attr-defined]
    for name in (
        "dim",
        "size",
        "numel",
        "nelement",
        "stride",
        "element_size",
        "is_floating_point",
        "is_complex",
        "__len__",
    ):
        setattr(Val, name, METHODS[name])
    Val.ndimension = METHODS["dim"]  # type: ignore[attr-defined]
    Val._meta = property(lambda self: self.meta)  # type: ignore[attr-defined]
    for name in ("T", "mT", "mH", "real", "imag"):
        setattr(Val, name, property(GETTERS[name]))


def _get_grad(t: Tensor) -> Tensor | None:
    return None if t._x is None else t._x.grad


def _set_grad(t: Tensor, g: Tensor | None) -> None:
    if g is None:
        if t._x is not None:
            t._x.grad = None
        return
    if not isinstance(g, Tensor):
        raise TypeError(
            f"assigned grad expected to be a Tensor or None but got grad of type {type(g).__name__}"
        )
    if g is t:
        raise RuntimeError("can't assign Variable as its own grad")
    if g._meta.dtype is not t._meta.dtype:
        raise RuntimeError(
            f"assigned grad has data of a different type: expected {t._meta.dtype}, got {g._meta.dtype}"
        )
    if tuple(g._meta.shape) != tuple(t._meta.shape):
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(g._meta.shape)}' to a tensor of size "
            f"'{list(t._meta.shape)}'. Please "
            "ensure that the gradient and the tensor are the same size"
        )
    extras(t).grad = g


def _set_requires_grad(t: Tensor, value: bool) -> None:
    if t._gf is not None or (t._vw is not None and t._rg):
        if not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that "
                "doesn't require differentiation use var_no_grad = var.detach()."
            )
        return
    if value and not (t._meta.dtype.is_floating_point or t._meta.dtype.is_complex):
        fail(
            RuntimeError, "requires_grad_: only Tensors of floating point dtype can require gradients", self=t
        )
    if value and t._ver is INFERENCE and not LOCAL.s.inference:
        raise RuntimeError(
            "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
        )
    t._rg = bool(value)


def _requires_grad(t: Tensor) -> bool:
    return t._rg or (t._vw is not None and t._vw[0]._rg)


def detach(self: Tensor) -> Tensor:
    """A tensor of the same storage that is outside the graph; writes to one are seen by both."""
    kind = type(self)
    if kind in PLAIN or getattr(kind, "__torch_function__", None) is disabled_torch_function:
        kind = Tensor
    t = kind.__new__(kind) if kind is Tensor else Tensor.__new__(kind)
    t._st, t._off, t._meta, t._rg, t._gf, t._nr, t._ver, t._vw, t._x = (
        *(self._st, self._off, self._meta, False, None, 0),
        *(version_of(self), None, None),
    )
    return t


def as_subclass(self: Tensor, cls: type) -> Any:
    """The same tensor as an instance of `cls`, a subclass of Tensor."""
    t = FUNCTIONS["alias"](self) if self._rg else detach(self)
    t.__class__ = cls
    return t


def _data(self: Tensor) -> Tensor:
    t = detach(self)
    t._ver = INFERENCE if self._ver is INFERENCE else None
    return t


def _set_data(self: Tensor, other: Tensor) -> None:
    self._st, self._off, self._meta = other._st, other._off, other._meta


def _version(t: Tensor) -> int:
    if t._ver is INFERENCE:
        raise RuntimeError("Inference tensors do not track version counter.")
    return 0 if t._ver is None else t._ver.n


_backward: Any = None  # autograd.engine.backward


def backward(
    self: Tensor,
    gradient: Any = None,
    retain_graph: Any = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of this tensor to the .grad of the leaves it depends on (see autograd.backward)."""
    global _backward
    if _backward is None:
        from ..autograd.engine import backward as _backward
    _backward(self, gradient, retain_graph, create_graph, inputs)


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Set requires_grad in place."""
    _set_requires_grad(self, requires_grad)
    return self


def size(self: Any, dim: int | None = None) -> Any:
    """The shape, or the extent of one dimension."""
    shape = self.shape
    if dim is None:
        return shape
    if not -len(shape) <= dim < max(len(shape), 1):
        bound = max(len(shape), 1)
        raise IndexError(
            f"size: Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})"
        )
    return shape[dim]


def stride(self: Any, dim: int | None = None) -> Any:
    """Elements between neighbours, for all dimensions or one."""
    strides = self._meta.strides
    return strides if dim is None else strides[dim]


def length(self: Any) -> int:
    """The extent of the first dimension."""
    if not self.shape:
        fail(TypeError, "len: len() of a 0-d tensor", self=self)
    return self.shape[0]


def _view_base(t: Tensor) -> Tensor | None:
    return None if t._vw is None else t._vw[0]


def _transpose_last(t: Any) -> Any:
    if t.ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {t.ndim}-D tensor."
        )
    return FUNCTIONS["transpose"](t, -2, -1)


def retain_grad(self: Tensor) -> None:
    """Keep the gradient of this non-leaf tensor in .grad."""
    if not self._rg:
        fail(RuntimeError, "retain_grad: can't retain_grad on Tensor that has requires_grad=False", self=self)
    node = gradient.grad_fn(self)
    if node is None:
        return
    import weakref

    from ..autograd.engine import hooks_of

    hooks_of(node).retained[self._nr] = weakref.ref(self)
    extras(self).retains = True


GETTERS: dict[str, Any] = {
    "shape": lambda t: t._meta.shape,
    "dtype": lambda t: t._meta.dtype,
    "device": lambda t: t._meta.device,
    "ndim": lambda t: t._meta.ndim,
    "requires_grad": _requires_grad,
    "grad": _get_grad,
    "grad_fn": gradient.grad_fn,
    "is_leaf": lambda t: gradient.grad_fn(t) is None,
    "data": _data,
    "T": lambda t: FUNCTIONS["permute"](t, *range(t.ndim - 1, -1, -1)),
    "mT": _transpose_last,
    "mH": _transpose_last,
    "H": lambda t: FUNCTIONS["permute"](t, *range(t.ndim - 1, -1, -1)).conj(),
    "_version": _version,
    "_base": _view_base,
    "itemsize": lambda t: t._meta.dtype.itemsize,
    "nbytes": lambda t: t._meta.nbytes,
    "is_cuda": lambda t: t._meta.device.type == "cuda",
    "is_cpu": lambda t: t._meta.device.type == "cpu",
    "is_meta": lambda t: t._meta.device.type == "meta",
    "is_sparse": lambda t: False,
    "is_quantized": lambda t: False,
    "is_nested": lambda t: False,
    "is_mkldnn": lambda t: False,
    "is_mps": lambda t: False,
    "is_xpu": lambda t: False,
    "is_xla": lambda t: False,
    "output_nr": lambda t: t._nr,
    "retains_grad": lambda t: t._x is not None and t._x.retains,
    "layout": lambda t: strided,
    "name": lambda t: None,
    "real": lambda t: FUNCTIONS["real"](t),
    "imag": lambda t: FUNCTIONS["imag"](t),
}
SETTERS: dict[str, Any] = {
    "real": lambda t, value: t.real.copy_(value) if isinstance(value, Tensor) else t.real.fill_(value),
    "imag": lambda t, value: t.imag.copy_(value) if isinstance(value, Tensor) else t.imag.fill_(value),
}
SETTERS |= {"grad": _set_grad, "requires_grad": _set_requires_grad, "data": _set_data}
DELETERS: dict[str, Any] = {"grad": lambda t: _set_grad(t, None)}
METHODS: dict[str, Any] = {
    "dim": lambda t: t._meta.ndim,
    "ndimension": lambda t: t._meta.ndim,
    "size": size,
    "sparse_dim": lambda t: 0,
    "dense_dim": lambda t: t._meta.ndim,
    "numel": lambda t: t._meta.numel,
    "nelement": lambda t: t._meta.numel,
    "stride": stride,
    "element_size": lambda t: t._meta.dtype.itemsize,
    "storage_offset": lambda t: t._off,
    "is_floating_point": lambda t: t._meta.dtype.is_floating_point,
    "is_complex": lambda t: t._meta.dtype.is_complex,
    "is_signed": lambda t: t._meta.dtype.is_signed,
    "is_inference": lambda t: t._ver is INFERENCE,
    "is_conj": lambda t: False,
    "is_neg": lambda t: False,
    "is_nonzero": lambda t: bool(t),
    "get_device": lambda t: -1,
    "detach": detach,
    "backward": backward,
    "requires_grad_": requires_grad_,
    "retain_grad": retain_grad,
    "_is_view": lambda t: t._vw is not None,
    "__len__": length,
}
