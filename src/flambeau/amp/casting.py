"""autocast: products in a lower precision, what would lose too much in it in float32.

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion(model(x), y)       # products in bfloat16, the loss in float32
    loss.backward()                         # gradients and weights stay float32

Inside, a mode at the bottom of the thread's modes sees each call: products and convolutions (`LOWER`) get their
arguments in the lower precision, losses and a few others (`FULL`) get theirs in float32, what joins tensors (`WIDEST`)
in float32 if one is. The lists are PyTorch's for the CPU. "cuda", which is not there, is switched off with PyTorch's
warning.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from .. import dtypes
from ..stream.value import LOCAL, Tensor

LOWER = frozenset(
    (
        *("mm", "mv", "dot", "bmm", "_stacked", "addmm", "addbmm", "baddbmm", "linear"),
        *("_conv", "_conv_data", "_prelu_kernel", "_attention"),
    )
)
FULL = frozenset(
    (
        *("_cross_entropy", "_nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
        *(
            "_mse_loss",
            "l1_loss",
            "smooth_l1_loss",
            "huber_loss",
            "kl_div",
            "_pad_mode",
            "_prod",
            "trace",
            "polar",
        ),
        "_pinv",
    )
)
STATE = frozenset(
    ("_lstm_gates", "_gru_gates")
)  # a cell's gates take the precision of its state, the last argument
FAMILY = "linalg_"  # the same by the beginning of the name
WIDEST = frozenset(("_cat", "_stack", "index_copy"))
CHOICES = (dtypes.bfloat16, dtypes.float16)
DEVICES = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
DEVICES |= dict.fromkeys(
    ("mps", "mtia", "xpu", "hpu", "maia", "privateuseone"), dtypes.float16
)  # not here either
DEVICES |= {"xla": dtypes.bfloat16}


class State:
    """What is set on one thread for one kind of device."""

    def __init__(self, dtype: Any):
        self.enabled, self.cache, self.dtype = False, True, dtype


def state_of(device_type: str) -> State:
    """The state of this thread for a kind of device."""
    S: Any = LOCAL.s
    found: dict[str, State] | None = getattr(S, "autocast", None)
    if found is None:
        found = S.autocast = {name: State(dtype) for name, dtype in DEVICES.items()}
    if device_type not in found:
        raise RuntimeError(
            f"unknown device type for autocast in get_autocast_dispatch_key_from_device_type; got {device_type!r}; "
            "use 'cpu'"
        )
    return found[device_type]


class Casting:
    """The mode that casts arguments. kept: what leaves that require a gradient became, for as long as it is entered."""

    def __init__(self, dtype: Any, keep: bool):
        self.dtype = dtype
        self.kept: dict[int, tuple[Any, int, Tensor]] | None = {} if keep else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.__name__
        if name in LOWER:
            cast: Any = self.autocast_lower
        elif name in STATE:
            cast = functools.partial(Tensor.to, dtype=args[-1].dtype)
        elif name in FULL or name.startswith(FAMILY) or (name in WIDEST and any_full((args, kwargs))):
            cast = full
        else:
            cast = None
        if cast is None or kwargs.get("out") is not None or LOCAL.s.backward:
            return func(*args, **kwargs)
        return func(*mapped(cast, args), **mapped(cast, kwargs))

    def autocast_lower(self, t: Tensor) -> Tensor:
        """A tensor in the lower precision."""
        dtype = t._meta.dtype
        if dtype is self.dtype or not eligible(t):
            return t
        leaf = dtype is dtypes.float32 and t._rg and t._gf is None and t._vw is None
        if self.kept is None or not leaf or not LOCAL.s.grad:
            return t.to(self.dtype)
        written = 0 if t._ver is None else t._ver.n
        found = self.kept.get(id(t))
        if found is None or found[0]() is not t or found[1] != written:
            found = self.kept[id(t)] = weakref.ref(t), written, t.to(self.dtype)
        return found[2]


def eligible(t: Tensor) -> bool:
    """Whether autocast may cast a tensor: floating-point numbers but float64."""
    return t._meta.dtype.is_floating_point and t._meta.dtype is not dtypes.float64


def full(t: Tensor) -> Tensor:
    """A tensor in float32."""
    return t.to(dtypes.float32) if eligible(t) and t._meta.dtype is not dtypes.float32 else t


def mapped(f: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Arguments with f of their tensors."""
    if isinstance(x, Tensor):
        return f(x)
    if type(x) in (list, tuple):
        return type(x)([mapped(f, v) for v in x])
    return {k: mapped(f, v) for k, v in x.items()} if type(x) is dict else x


def any_full(x: Any) -> bool:
    """Whether a tensor of the arguments is float32."""
    if isinstance(x, Tensor):
        return x._meta.dtype is dtypes.float32
    parts = x.values() if type(x) is dict else x if type(x) in (list, tuple) else ()
    return any(map(any_full, parts))


def put(enabled: bool, dtype: Any, keep: bool) -> None:
    """Set what holds for "cpu" on this thread: its mode is the bottom one, below those of the user."""
    S, state = LOCAL.s, state_of("cpu")
    modes = [m for m in S.modes if type(m) is not Casting]
    if enabled:
        modes.insert(0, Casting(dtype, keep))
    S.depth += len(modes) - len(S.modes)
    S.modes, state.enabled, state.dtype, state.cache = modes, enabled, dtype, keep


class autocast(ContextDecorator):
    """A context (or decorator) in which products run in a lower precision: `autocast("cpu", dtype=torch.bfloat16)`.

    device_type: "cpu"; "cuda" is switched off with a warning. dtype: bfloat16 (default) or float16; another is warned
    about and switches it off. enabled=False: what is inside runs as without any autocast. cache_enabled: weights are
    cast once for each time that the outermost context is entered. Parameters, gradients and states of optimizers keep
    their dtype. The backward pass belongs outside.
    Example: ``with torch.autocast("cpu"): assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16``.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        state = state_of(device_type)
        self.fast_dtype = state.dtype if dtype is None else dtype
        self._cache_enabled = state.cache if cache_enabled is None else bool(cache_enabled)
        if enabled and device_type == "cuda":
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2
            )
            enabled = False
        if enabled and self.fast_dtype not in CHOICES:
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtype of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = bool(enabled)
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        S, state = LOCAL.s, state_of(self.device)
        self._before.append((S.modes, S.depth, state.enabled, state.dtype, state.cache))
        if self.device == "cpu":
            same = [m for m in S.modes if type(m) is Casting and m.dtype is self.fast_dtype]
            if self._enabled and same and (same[0].kept is not None) is self._cache_enabled:
                return self  # what was cast outside is kept
            put(self._enabled, self.fast_dtype, self._cache_enabled)
        else:
            state.enabled, state.dtype = self._enabled, self.fast_dtype
        return self

    def __exit__(self, *error: object) -> None:
        S, state = LOCAL.s, state_of(self.device)
        modes, depth, state.enabled, state.dtype, state.cache = self._before.pop()
        if self.device == "cpu":
            S.modes, S.depth = modes, depth


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast can be enabled for a kind of device."""
    return device_type == "cpu"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a kind of device, on this thread."""
    return state_of(device_type).enabled


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU, on this thread."""
    return state_of("cpu").enabled


def set_autocast_enabled(device_type: Any, enabled: Any = None) -> None:
    """Switch autocast on or off for a kind of device, on this thread."""
    device_type, enabled = ("cuda", device_type) if enabled is None else (device_type, enabled)
    state = state_of(device_type)
    if device_type == "cpu":
        put(bool(enabled), state.dtype, state.cache)
    else:
        state.enabled = bool(enabled)


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Switch autocast on or off for the CPU, on this thread."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_dtype(device_type: str) -> Any:
    """The lower precision of a kind of device, on this thread."""
    return state_of(device_type).dtype


def get_autocast_cpu_dtype() -> Any:
    """The lower precision of the CPU, on this thread."""
    return state_of("cpu").dtype


def get_autocast_gpu_dtype() -> Any:
    """The lower precision of CUDA devices, on this thread."""
    return state_of("cuda").dtype


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the lower precision of a kind of device, on this thread."""
    state = state_of(device_type)
    if device_type == "cpu":
        put(state.enabled, dtype, state.cache)
    else:
        state.dtype = dtype


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """Set the lower precision of the CPU, on this thread."""
    set_autocast_dtype("cpu", dtype)


def is_autocast_cache_enabled() -> bool:
    """Whether weights are cast once for each time that autocast is entered."""
    return state_of("cpu").cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether weights are cast once for each time that autocast is entered."""
    state = state_of("cpu")
    put(state.enabled, state.dtype, bool(enabled))


def clear_autocast_cache() -> None:
    """Forget what weights became in the lower precision."""
    for m in LOCAL.s.modes:
        if type(m) is Casting and m.kept is not None:
            m.kept.clear()


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """A decorator for `forward` of a custom Function: it remembers the state of autocast, or runs without it on inputs
    of the dtype cast_inputs."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def inside(*args: Any, **options: Any) -> Any:
        ctx, state = args[0], state_of(device_type)
        ctx._dtype, on = state.dtype, state.enabled
        ctx._fwd_used_autocast = on and cast_inputs is None
        if cast_inputs is None or not on:
            return fwd(*args, **options)
        to = lambda t: t.to(cast_inputs) if eligible(t) else t
        with autocast(device_type, enabled=False):
            return fwd(*mapped(to, args), **mapped(to, options))

    return inside


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """A decorator for `backward` of a custom Function: it runs in the state of autocast that `forward` had."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def inside(*args: Any, **options: Any) -> Any:
        ctx = args[0]
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **options)

    return inside
