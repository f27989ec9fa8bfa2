"""Public names of the package that are not ops: modes, defaults, predicates."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..ops.entry import ENTRIES
from ..stream.value import INFERENCE, Tensor
from .factories import factory
from .storage import UntypedStorage

NAMES = [
    "is_tensor",
    "get_default_dtype",
    "set_default_dtype",
    "is_floating_point",
    "is_inference",
    "is_complex",
    "numel",
    "typename",
    "variable",
]
NAMES += ["is_conj", "is_storage", "embedding"]
NAMES += ["asarray", "can_cast", "detach", "is_nonzero", "result_type", "set_default_tensor_type", "_assert"]


def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


def get_default_dtype() -> dtypes.dtype:
    """The dtype of new floating-point tensors."""
    return dtypes.default_dtype()


def set_default_dtype(d: dtypes.dtype) -> None:
    """Set the dtype of new floating-point tensors."""
    dtypes.set_default_dtype(d)
    for entry in ENTRIES.values():  # what was traced under another default does not hold
        entry.cache.clear()
        entry.cache_inplace.clear()


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point type."""
    return input._meta.dtype.is_floating_point


def is_inference(input: Tensor) -> bool:
    """Whether the tensor was made in inference mode."""
    return input._ver is INFERENCE


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input._meta.dtype.is_complex


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input._meta.numel


def typename(obj: Any) -> str:
    """The qualified name of obj's type."""
    if isinstance(obj, Tensor):
        return obj.type()  # type: ignore[attr-defined]
    kind = type(obj)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__


def variable(data: Any, requires_grad: bool = True) -> Tensor:
    """The tensor itself as a variable of the graph; floating-point leaves begin to require a gradient."""
    t = data if isinstance(data, Tensor) else _tensor(data)
    if requires_grad and t._meta.dtype.is_floating_point and t._gf is None:
        t._rg = True
    return t


def is_conj(input: Tensor) -> bool:
    """Whether the tensor is conjugated when it is read: none is, `conj` computes."""
    return False


def is_storage(obj: Any) -> bool:
    """Whether obj is a storage."""
    return isinstance(obj, UntypedStorage)


def embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """As nn.functional.embedding, the table first; a negative padding_idx is none."""
    from ..ops.gather import embedding as looked_up

    padding = padding_idx if padding_idx >= 0 else None
    return looked_up(indices, weight, padding, None, 2.0, scale_grad_by_freq, sparse)


def detach(input: Tensor) -> Tensor:
    """A tensor of the same storage that is outside the graph."""
    return input.detach()  # type: ignore[attr-defined]


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero."""
    return bool(input)


def can_cast(from_: dtypes.dtype, to: dtypes.dtype) -> bool:
    """Whether a result of the first dtype may be written into a tensor of the second."""
    from ..ops.rules import can_cast as allowed

    return allowed(from_, to)


def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that an operation on both computes in; numbers and 0-d tensors count only by their category."""
    (d, a), (e, b) = _weight(tensor1), _weight(tensor2)
    if a == b:
        return dtypes.promote_types(d, e)
    return dtypes.result_type([(d, a), (e, b)])


def _weight(x: Any) -> tuple[dtypes.dtype, int]:
    if isinstance(x, Tensor):
        return x._meta.dtype, 2 if x._meta.ndim else 1
    return dtypes.number_dtype(type(x)), 0


@factory
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """obj as a tensor, sharing its memory where possible; copy=True: never."""
    from .create import tensor
    from .exchange import as_tensor

    if isinstance(obj, UntypedStorage):
        obj = obj._tensor()
    t = tensor(obj, dtype=dtype) if copy else as_tensor(obj, dtype)
    return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined]


def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype by a tensor type, as torch.DoubleTensor."""
    names = {
        "Half": dtypes.float16,
        "Float": dtypes.float32,
        "Double": dtypes.float64,
        "BFloat16": dtypes.bfloat16,
    }
    name = str(t).rpartition(".")[2].removesuffix("Tensor")
    d = names.get(name) if isinstance(t, str) else getattr(t, "dtype", None)
    if d is None:
        raise TypeError(
            f"invalid type object: only floating-point types are supported as the default type; got {t!r}"
        )
    set_default_dtype(d)


def _assert(condition: Any, message: str) -> None:
    """assert as a function."""
    if not condition:
        raise AssertionError(message)


def _tensor(data: Any) -> Tensor:
    from .create import tensor

    return tensor(data)
