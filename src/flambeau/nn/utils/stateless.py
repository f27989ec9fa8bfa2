"""Calling a module with other parameters than its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..module import Module

Tensor = Any


def _place(module: Module, name: str) -> tuple[Any, str]:
    """(the module that owns the tensor of that dotted name, its last part)."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path) if path else module
    if last not in owner._parameters and last not in owner._buffers:
        kind = "parameter or buffer"
        raise AttributeError(f"{type(owner).__name__} has no {kind} `{last}`; got the name {name!r}")
    return owner, last


def _ties(module: Module) -> list[set[str]]:
    """Names that are one tensor, for each tensor with several names."""
    names: dict[int, set[str]] = {}
    for members in (
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    ):
        for name, tensor in members:
            names.setdefault(id(tensor), set()).add(name)
    return [group for group in names.values() if len(group) > 1]


@contextmanager
def _swapped(module: Module, tensors: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """The module with other tensors under the given names, until the block ends."""
    known = {n for n, _ in module.named_parameters(remove_duplicate=False)}
    known |= {n for n, _ in module.named_buffers(remove_duplicate=False)}
    given = dict(tensors)
    if tie_weights:
        for group in _ties(module):
            mentioned = group & given.keys()
            if len({id(given[n]) for n in mentioned}) > 1:
                raise ValueError(
                    f"functional_call got multiple values for keys {sorted(mentioned)}, which are tied. Consider using "
                    "tie_weights=False"
                )
            if mentioned:
                value = given[next(iter(mentioned))]
                given.update(dict.fromkeys(group, value))
    if strict:
        missing, unexpected = sorted(known - given.keys()), sorted(given.keys() - known)
        if missing or unexpected:
            problems = [f"Unexpected key(s): {', '.join(unexpected)}."] if unexpected else []
            problems += [f"Missing key(s): {', '.join(missing)}."] if missing else []
            raise RuntimeError(
                f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(problems)
            )
    saved: list[tuple[Any, str, Any]] = []
    try:
        for name, tensor in given.items():
            owner, last = _place(module, name)
            table = owner._parameters if last in owner._parameters else owner._buffers
            saved.append((table, last, table[last]))
            table[last] = tensor
        yield
    finally:
        for table, last, tensor in reversed(saved):
            table[last] = tensor


def functional_call(
    module: Module,
    parameters_and_buffers: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with the given tensors in place of its parameters and buffers, by dotted name."""
    if isinstance(parameters_and_buffers, (list, tuple)):
        merged: dict[str, Any] = {}
        for part in parameters_and_buffers:
            for key in part:
                if key in merged:
                    raise ValueError(
                        f"{key!r} appears in multiple dictionaries; behavior of functional call is ambiguous"
                    )
            merged.update(part)
        parameters_and_buffers = merged
    elif not isinstance(parameters_and_buffers, dict):
        raise ValueError(
            "Expected parameters_and_buffers to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameters_and_buffers)}"
        )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))
