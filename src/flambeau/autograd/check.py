"""Gradients against finite differences: gradcheck and gradgradcheck."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..stream.value import Tensor
from . import engine
from .modes import no_grad


class GradcheckError(RuntimeError):
    """The gradient of a function does not agree with finite differences."""


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _checked(inputs: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = [t for t in inputs if isinstance(t, Tensor) and t.requires_grad]  # type: ignore[attr-defined]
    if not found:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them "
            "have requires_grad=True."
        )
    for i, t in enumerate(found):
        if t.dtype.itemsize < 8:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex. This check will likely "
                "fail if all the inputs are not of double precision floating point or complex. ",
                stacklevel=3,
            )
    return found


def _outputs(fn: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    return [o for o in _tuple(fn(*inputs)) if isinstance(o, Tensor) and o._meta.dtype.is_inexact]


def numerical(fn: Callable[..., Any], inputs: tuple[Any, ...], x: Any, eps: float) -> list[np.ndarray]:
    """The Jacobians of all outputs by x, central differences; rows: elements of x (or parts, if they are complex)."""
    rows: list[list[np.ndarray]] = []
    with no_grad():
        flat = reals(x)
        for i in range(flat.size):
            ends = []
            for step in (eps, -eps):
                moved = flat.copy()
                moved[i] += step
                x.data.copy_(_like(x, moved))
                ends.append([reals(o) for o in _outputs(fn, inputs)])
            rows.append([(p - m) / (2 * eps) for p, m in zip(*ends)])
        x.data.copy_(_like(x, flat))
    return [np.array(column) for column in zip(*rows)]


def reals(t: Any) -> np.ndarray:
    """The elements as float64, of complex ones the real and imaginary part in turn."""
    if t._meta.dtype.is_complex:
        return np.array(t.tolist(), dtype=np.complex128).reshape(-1).view(np.float64)
    return np.array(t.tolist(), dtype=np.float64).reshape(-1)


def _like(x: Any, values: np.ndarray) -> Any:
    if x._meta.dtype.is_complex:
        values = values.view(np.complex128)
    return x.new_tensor(values.tolist()).reshape(tuple(x.shape))


def analytical(output: Any, xs: list[Any]) -> list[np.ndarray]:
    """The Jacobians of one output by each input, one backward pass for each element."""
    n = output.numel() * (1 + output.is_complex())
    found = [np.zeros((x.numel() * (1 + x.is_complex()), n)) for x in xs]
    if not output.requires_grad:
        return found
    for j in range(n):
        seed = np.zeros(n)
        seed[j] = 1
        grads = engine.grad(output, xs, _like(output.detach(), seed), retain_graph=True, allow_unused=True)
        for k, g in enumerate(grads):
            if g is not None:
                found[k][:, j] = reals(g)
    return found


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of func agree with central differences within |a - n| <= atol + rtol * |n|.

    Raises GradcheckError where they do not (or returns False if raise_exception is False). Inputs should be float64.
    """
    try:
        _gradcheck(func, _tuple(inputs), eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _gradcheck(
    func: Any, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet: float
) -> None:
    xs = _checked(inputs)
    outputs = _outputs(func, inputs)
    if not any(o.requires_grad for o in outputs):
        for x in xs:
            if any(np.abs(j).max(initial=0) > atol for j in numerical(func, inputs, x, eps)):
                raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    expected = [numerical(func, inputs, x, eps) for x in xs]
    for i, output in enumerate(outputs):
        found = analytical(output, xs)
        again = analytical(output, xs)
        for j, (a, b) in enumerate(zip(found, again)):
            if not np.allclose(a, b, rtol=0, atol=nondet):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives "
                    "different values, although analytical gradient matches numerical gradient."
                )
            n = expected[j][i]
            if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {i} with respect to input {j},\nnumerical:{n}\nanalytical:{a}\n"
                )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """gradcheck of the gradients of func: by its inputs and by the gradients of its outputs (random if not given)."""
    inputs = _tuple(inputs)
    if grad_outputs is None:  # drawn as PyTorch draws them: what a program draws later is the same
        made = [o.new_zeros(tuple(o.shape)) for o in _outputs(func, inputs)]
        grad_outputs = [g.uniform_(-1, 1).requires_grad_() for g in made]
    grad_outputs = _tuple(grad_outputs)
    count = len(grad_outputs)

    def first_order(*args: Any) -> Any:
        given, seeds = args[:-count], args[-count:]
        xs = [t for t in given if isinstance(t, Tensor) and t._rg]
        pairs = [(o, g) for o, g in zip(_outputs(func, given), seeds) if o.requires_grad]
        found = engine.grad(
            [o for o, _ in pairs], xs, [g for _, g in pairs], create_graph=True, allow_unused=True
        )
        return tuple([g for g in found if g is not None])

    def in_grad_mode(*args: Any) -> Any:
        from .modes import enable_grad

        with enable_grad():
            return first_order(*args)

    return gradcheck(
        in_grad_mode,
        (*inputs, *grad_outputs),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )
