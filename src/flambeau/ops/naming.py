"""Names of parameters: `input` for the first, and NumPy's axis and keepdims beside dim and keepdim, as PyTorch has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

OTHER = {"dim": "axis", "keepdim": "keepdims"}


class _Absent:
    """The default of parameters that are not given."""

    def __repr__(self) -> str:
        return "<not given>"


ABSENT: Any = _Absent()


def others(params: Sequence[str]) -> list[str]:
    """The names that NumPy has for some of the parameters."""
    return [OTHER[p] for p in params if p in OTHER and OTHER[p] not in params]


def test(params: Sequence[str], required: Sequence[str]) -> str:
    """The text of a condition: other names are used, or a parameter that might have one is missing."""
    late = required[required.index("dim") :] if "dim" in required and others(params) else ()
    return " or ".join([*(f"{n} is not A" for n in others(params)), *(f"{p} is A" for p in late)])


def in_order(
    name: str, params: Sequence[str], values: Sequence[Any], named: dict[str, Any], defaults: dict[str, Any]
) -> list[Any]:
    """The arguments with what has come under another name in its place. TypeError if one is missing, or there twice."""
    made = list(values)
    for i, p in enumerate(params):
        given = named.get(OTHER.get(p, ""), ABSENT)
        if given is not ABSENT:
            if made[i] is not ABSENT and made[i] is not defaults.get(p, ABSENT):
                raise TypeError(f"{name}() got multiple values for argument {p!r}")
            made[i] = given
        if made[i] is ABSENT:
            raise TypeError(f'{name}() missing 1 required positional arguments: "{p}"')
    return made


def with_other_names(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes axis and keepdims for dim and keepdim too; itself if it has neither, or takes any number."""
    known = inspect.signature(fn).parameters
    kinds = {p: v.kind for p, v in known.items()}
    params = list(known)
    if not others(params) or not set(kinds.values()) <= {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }:
        return fn
    defaults = {p: v.default for p, v in known.items() if v.default is not inspect.Parameter.empty}
    required = [p for p in params if p not in defaults]
    text, star = [], False
    for p in params:
        if kinds[p] is inspect.Parameter.KEYWORD_ONLY and not star:
            text.append("*")
            star = True
        late = "dim" in required and p in required[required.index("dim") :]
        text.append(f"{p}=D[{p!r}]" if p in defaults else f"{p}=A" if late else p)
    extra = others(params)
    text += ([] if star else ["*"]) + [f"{n}=A" for n in extra]
    values = ", ".join(params)
    call = ", ".join(f"{p}={p}" if kinds[p] is inspect.Parameter.KEYWORD_ONLY else p for p in params)
    source = f"""def {fn.__name__}({", ".join(text)}):
    if {test(params, required)}:
        {values}, = in_order(N, P, ({values},), {{{", ".join(f"{n!r}: {n}" for n in extra)}}}, D)
    return fn({call})
"""
    scope = {"A": ABSENT, "D": defaults, "N": fn.__name__, "P": params, "fn": fn, "in_order": in_order}
    exec(compile(source, f"<flambeau function {fn.__name__}>", "exec"), scope)
    made: Any = scope[fn.__name__]
    made.__doc__, made.__module__, made.__qualname__ = fn.__doc__, fn.__module__, fn.__qualname__
    made.__wrapped__ = fn
    return made  # type: ignore[no-any-return]
