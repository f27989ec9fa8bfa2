"""Moving and converting a whole module tree: `to`, `half`, `cuda`, `share_memory`, ..."""

from __future__ import annotations

from typing import Any

import flambeau as torch

from .parameter import is_lazy


class Conversion:
    """The part of `Module` that maps a function over every parameter, gradient and buffer."""

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is not None:
                self._parameters[name] = _converted(param, fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves to a device and/or casts the floating-point state: `to(device)`, `to(dtype)`, `to(tensor)`.

        Integer parameters and buffers keep their dtype. Changes the module in place and returns it.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
                )
            if dtype.is_complex:
                import warnings

                warnings.warn(
                    "Complex modules are a new feature under active development whose design may change, and some "
                    "modules might not work as expected when using complex tensors as parameters or buffers.",
                    stacklevel=2,
                )

        def convert(t: Any) -> Any:
            target = dtype if t.is_floating_point() or t.is_complex() else None
            more = {"memory_format": memory_format} if memory_format is not None and t.dim() in (4, 5) else {}
            if device is None and target is None and not more:
                return t
            target = t.dtype if target is None else target
            if t.is_meta and device is not None and device.type != "meta":
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                    "torch.nn.Module.to() when moving module from meta to a different device."
                )
            return t.to(t.device if device is None else device, target, non_blocking, **more)

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Moves to `device` without copying: every parameter and buffer comes out uninitialised."""
        return self._apply(lambda t: torch.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Any:
        """Casts every parameter and buffer to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Any:
        """Casts the floating-point state to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Any:
        """Casts the floating-point state to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Any:
        """Casts the floating-point state to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Any:
        """Casts the floating-point state to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Any:
        """Moves everything to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Moves everything to a CUDA device."""
        return self._apply(lambda t: t.cuda(device))

    def ipu(self, device: Any = None) -> Any:
        """Moves everything to an IPU."""
        return self._apply(lambda t: t.ipu(device))

    def xpu(self, device: Any = None) -> Any:
        """Moves everything to an XPU."""
        return self._apply(lambda t: t.xpu(device))

    def mtia(self, device: Any = None) -> Any:
        """Moves everything to an MTIA device."""
        return self._apply(lambda t: t.mtia(device))

    def share_memory(self) -> Any:
        """Puts every parameter and buffer into memory that other processes can see."""
        return self._apply(lambda t: t.share_memory_())


def _converted(param: Any, fn: Any) -> Any:
    """`param`, holding `fn(param)`, and its gradient likewise."""
    with torch.no_grad():
        made = fn(param)
    if is_lazy(param):
        param.data = made.data
        return param
    grad = param.grad
    if made is not param:
        param.data = made
    if grad is not None:
        with torch.no_grad():
            moved = fn(grad)
        if moved is not grad:
            param.grad = moved.requires_grad_(grad.requires_grad)
    return param


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) of the arguments of `Module.to`."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking, memory_format = kwargs.pop("non_blocking", False), kwargs.pop("memory_format", None)
    like = kwargs.pop("tensor", kwargs.pop("other", None))
    kwargs.pop("copy", None)
    if kwargs:
        raise TypeError(
            f"to() received an invalid combination of arguments; unknown keyword {next(iter(kwargs))!r}"
        )
    flags = []
    for arg in args:
        if isinstance(arg, torch.Tensor):
            like = arg
        elif isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, bool):
            flags.append(arg)
        elif isinstance(arg, (str, int, torch.device)):
            device = arg
        elif arg is not None:
            raise TypeError(f"to() received an invalid combination of arguments - got {type(arg).__name__}")
    if like is not None:
        device, dtype = like.device, like.dtype
    if flags:
        non_blocking = flags[0]
    return None if device is None else torch.device(device), dtype, non_blocking, memory_format
