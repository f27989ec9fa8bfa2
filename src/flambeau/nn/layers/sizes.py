"""Settings that are given once or once per dimension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def single(value: Any, count: int) -> tuple:
    """A tuple of `count` equal entries, or the entries that are there already."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * count


def reversed_twice(values: tuple) -> tuple:
    """(a, b) -> (b, b, a, a): the order in which `pad` wants symmetric paddings."""
    return tuple(v for v in reversed(values) for _ in range(2))


def _ntuple(count: int, name: str = "parse") -> Any:
    def parse(value: Any) -> tuple:
        return single(value, count)

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = (
    _ntuple(n, f"_{w}") for n, w in enumerate(("single", "pair", "triple", "quadruple"), 1)
)
_reverse_repeat_tuple = lambda values, times: tuple(v for v in reversed(values) for _ in range(times))


def _list_with_default(out_size: Any, defaults: list[int]) -> Any:
    if isinstance(out_size, int):
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    return [v if v is not None else d for v, d in zip(out_size, defaults[-len(out_size) :])]
