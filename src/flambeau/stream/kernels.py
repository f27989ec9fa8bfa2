"""The kernels of launches: those of this process, those in the disk cache, those that are compiled now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .backend import current
from .counts import STATS
from .value import AT_FIRST_KERNEL

if TYPE_CHECKING:
    from .program import Launch

KERNELS: dict[Any, Any] = {}  # (device name, nest or recipe key) -> (handle, epilogue, names of parameters)
NAMED: dict[str, Any] = {}  # the same by their names in the disk cache, which plans of earlier processes know
NAMES: dict[Any, str] = {}  # these names, by the keys of KERNELS


def kernels_of(device: Any, launches: list[Launch]) -> dict[int, tuple[Any, bool, tuple[str, ...]]]:
    """Handles of all kernels; those not known yet are found in the disk cache or compiled together."""
    missing: dict[Any, Launch] = {}
    for x in launches:
        key = (device.name, x.key)
        if key not in KERNELS:
            missing.setdefault(key, x)
    if missing:
        texts = dict(zip(missing, [repr(x.key) for x in missing.values()]))
        names = dict(zip(missing, names_of(device, list(texts.values()))))
        new = [key for key, name in names.items() if name not in NAMED]
        found = dict(zip(new, device.recall([texts[key] for key in new]))) if new else {}
        for key, name in names.items():
            if (kernel := NAMED.get(name) or found[key]) is not None:
                KERNELS[key] = tuple(kernel)
        rest = [key for key in missing if key not in KERNELS]
        made = [missing[key].make() for key in rest]
        for key, handle, kernel in zip(rest, device.load(made, [texts[key] for key in rest]), made):
            KERNELS[key] = (handle, bool(kernel.epilogue), tuple(p.name for p in kernel.params))
        for key, name in names.items():
            if name:
                NAMES[key], NAMED[name] = name, KERNELS[key]
        noted(len(new))
    return {id(x): KERNELS[device.name, x.key] for x in launches}


def noted(new: int) -> None:
    """So many kernels are new to this process."""
    STATS["kernels"] += new
    while AT_FIRST_KERNEL:
        AT_FIRST_KERNEL.pop()()


def exists(key: Any) -> bool:
    """Whether the kernel of a launch's key need not be made."""
    device = current()
    if (device.name, key) in KERNELS:
        return True
    return bool(NAMED) and names_of(device, [repr(key)])[0] in NAMED


def names_of(device: Any, texts: list[str]) -> list[str]:
    """The names of the kernels of launches' keys in the disk cache; "" where there is none."""
    plans = device.plans()
    return [""] * len(texts) if plans is None else plans.names(texts)


def named_kernels(names: Sequence[str]) -> list[Any] | None:
    """The handles of kernels by their names in the disk cache; None if one is not there any more."""
    new = [name for name in names if name not in NAMED]
    found = current().plans().recall_named(new)
    if None in found:
        return None
    NAMED.update(zip(new, map(tuple, found)))
    noted(len(new))
    return [NAMED[name][0] for name in names]
