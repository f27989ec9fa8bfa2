"""The base of all optimizers: parameter groups, state of each parameter, checkpoints and hooks."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import flambeau as torch

from ..errors import fail
from . import apply

ParamsT = Any  # what an optimizer is given: tensors, (name, tensor) pairs, or dicts of groups

_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)
_global_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()

# what a group of a checkpoint that was written before an option existed stands for
_BEFORE = {"amsgrad": False, "nesterov": False, "maximize": False, "centered": False, "momentum": 0}
_BEFORE |= {"capturable": False, "differentiable": False, "decoupled_weight_decay": False}
_BEFORE |= {"foreach": None, "fused": None}


class _Required:
    """The default of an option that each group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """The `step` of a class between its pre and post hooks; afterwards the recorded work is run."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        # Through super() the outer step has the hooks; one around another optimizer may have none, not initialised.
        if type(self).step is not wrapper or "_optimizer_step_pre_hooks" not in self.__dict__:
            return step(*args, **kwargs)
        for hook in (*_global_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()):
            result = hook(self, args, kwargs)
            if result is not None:
                if not (isinstance(result, tuple) and len(result) == 2):
                    fail(
                        RuntimeError,
                        "Optimizer.step: a pre hook must return None or a tuple (new_args, new_kwargs)",
                        result=result,
                    )
                args, kwargs = result
        out = step(*args, **kwargs)
        for hook in (*self._optimizer_step_post_hooks.values(), *_global_post_hooks.values()):
            hook(self, args, kwargs)
        apply.step_boundary()
        return out

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class Optimizer:
    """Base of optimizers. `params`: tensors, (name, tensor) pairs or dicts of groups; `defaults`: options of a group.

    Raises TypeError or ValueError for what cannot be optimized (an empty list, a non-leaf, a tensor in two groups).
    """

    OptimizerPreHook = Callable[..., Any]
    OptimizerPostHook = Callable[..., Any]
    state: defaultdict[Any, Any]
    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]):
        self.defaults = defaults
        self._make_tables()
        if isinstance(params, torch.Tensor):
            fail(
                TypeError,
                "Optimizer: params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {torch.typename(params)}",
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            fail(ValueError, "Optimizer: optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _make_tables(self) -> None:
        for name in _TABLES:
            self.__dict__.setdefault(name, OrderedDict())

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_tables()
        self.defaults.setdefault("differentiable", False)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                if name not in group and (name in _BEFORE or value is not required):
                    group[name] = _BEFORE.get(name, value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once; `closure` re-evaluates the model and returns the loss."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros (set_to_none=False)."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif (grad := p.grad) is not None:
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grad.zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and any options that differ from the defaults."""
        if not isinstance(param_group, dict):
            fail(TypeError, f"Optimizer: param_group must be a dict, but got {type(param_group)}")
        _spread(param_group)
        for p in param_group["params"]:
            if not isinstance(p, torch.Tensor):
                fail(
                    TypeError,
                    "Optimizer: optimizer can only optimize Tensors, "
                    f"but one of the params is {torch.typename(p)}",
                )
            if not self.defaults.get("differentiable") and not (p.is_leaf or p.retains_grad):
                fail(ValueError, "Optimizer: can't optimize a non-leaf Tensor", param=p)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                fail(
                    ValueError,
                    "Optimizer: parameter group didn't specify a value of required optimization parameter "
                    + name,
                )
            param_group.setdefault(name, default)
        self._check_unique(param_group)
        self.param_groups.append(param_group)

    def _check_unique(self, new: dict[str, Any]) -> None:
        ids = {id(p) for p in new["params"]}
        if len(ids) != len(new["params"]):
            import warnings

            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an "
                "error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in new) != ("param_names" in group):
                fail(
                    ValueError,
                    "Optimizer: all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if 'param_names' in new else 'without'} names to the optimizer",
                )
            if not ids.isdisjoint(map(id, group["params"])):
                fail(ValueError, "Optimizer: some parameters appear in more than one parameter group")

    # checkpoints

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: state of the parameter}, "param_groups": [options and indices]}; tensors are not copied."""
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        index: dict[int, int] = {}
        groups, start = [], 0
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for i, p in enumerate(group["params"], start):
                index.setdefault(id(p), i)
            packed["params"] = [index[id(p)] for p in group["params"]]
            start += len(packed["params"])
            groups.append(packed)
        state = {index[id(k)] if isinstance(k, torch.Tensor) else k: v for k, v in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for after in self._optimizer_state_dict_post_hooks.values():
            changed = after(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state from `state_dict()` of an optimizer with groups of the same sizes."""
        import copy

        state_dict = state_dict.copy()
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, state_dict)
            state_dict = state_dict if changed is None else changed
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            fail(ValueError, "Optimizer: loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups)):
            fail(
                ValueError,
                "Optimizer: loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group",
            )
        owner, options = {}, {}
        for group, old in zip(self.param_groups, saved):
            for key, p in zip(old["params"], group["params"]):
                owner[key], options[key] = p, old
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            state[owner.get(key, key)] = _adopt(owner[key], value, options[key]) if key in owner else value
        for group, new in zip(self.param_groups, saved):
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    # hooks

    def _register(self, table: str, hook: Callable[..., Any], prepend: bool = False) -> Any:
        return _register(getattr(self, table), hook, prepend)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Call hook(optimizer, args, kwargs) before each step; it may return new (args, kwargs)."""
        return self._register(_TABLES[0], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Any:
        """Call hook(optimizer, args, kwargs) after each step."""
        return self._register(_TABLES[1], hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Any:
        """Call hook(optimizer) before `state_dict`."""
        return self._register(_TABLES[2], hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Any:
        """Call hook(optimizer, state_dict) after `state_dict`; it may return another one."""
        return self._register(_TABLES[3], hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Any:
        """Call hook(optimizer, state_dict) before `load_state_dict`; it may return another one."""
        return self._register(_TABLES[4], hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Any:
        """Call hook(optimizer) after `load_state_dict`."""
        return self._register(_TABLES[5], hook, prepend)

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """`func` as the `step` of a class: with hooks."""
        return _hooked(func)


def _spread(group: dict[str, Any]) -> None:
    """Make "params" of a group a list of tensors, and "param_names" the names where pairs were given."""
    params = group["params"]
    if isinstance(params, set):
        fail(
            TypeError,
            "Optimizer: optimizer parameters need to be organized in ordered collections, but the ordering of "
            "tensors in sets will change between runs. Please use a list instead.",
        )
    items = [params] if isinstance(params, torch.Tensor) else list(params)
    names = [item[0] for item in items if isinstance(item, tuple)]
    group["params"] = [item[1] if isinstance(item, tuple) else item for item in items]
    if names:
        if len(names) != len(items):
            fail(
                ValueError,
                "Optimizer: all optimizer params should be with/without names. Some param names are missing",
            )
        group["param_names"] = names


def _adopt(p: Any, value: Any, group: dict[str, Any], key: Any = None) -> Any:
    """A value of a loaded state as the state of p: tensors go to p's device and, but for "step", p's dtype."""
    if isinstance(value, torch.Tensor):
        if key == "step":
            on_device = group.get("capturable") or group.get("fused")
            return value.to(dtype=torch.float32, device=p.device) if on_device else value
        if p.is_floating_point():
            return value.to(dtype=p.dtype, device=p.device)
        return value.to(device=p.device)
    if isinstance(value, dict):
        return {k: _adopt(p, v, group, k) for k, v in value.items()}
    if isinstance(value, Iterable):
        return type(value)(_adopt(p, v, group) for v in value)  # type: ignore[call-arg]
    return value


def _register(table: OrderedDict[int, Any], hook: Callable[..., Any], prepend: bool = False) -> Any:
    handle = torch.utils.hooks.RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> Any:
    """Call hook(optimizer, args, kwargs) before each step of every optimizer; returns a handle with `remove()`."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> Any:
    """Call hook(optimizer, args, kwargs) after each step of every optimizer; returns a handle with `remove()`."""
    return _register(_global_post_hooks, hook)
