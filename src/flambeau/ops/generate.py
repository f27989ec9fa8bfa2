"""The Python text of an entry's function: one test, one look-up, one append."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import naming
from .registry import OPERANDS

if TYPE_CHECKING:
    from .entry import Entry

# What a parameter of each kind adds: to the test for calls that are not plain, to the key of the form, to the operands,
# and to the bits of what requires a gradient. `d` (in place of `N`): a number with a default, baked in if it is that
# (`s_` and its name).
PIECES = {
    "T": ("type({p}) not in PLAIN", "{p}._meta", "{p},", "({bit} if {p}._rg else 0)"),
    "OT": (
        "({p} is not None and type({p}) not in PLAIN)",
        "(None if {p} is None else {p}._meta)",
        "*(() if {p} is None else ({p},)),",
        "({bit} if {p} is not None and {p}._rg else 0)",
    ),
    "TN": (
        "(type({p}) not in PLAIN and type({p}) not in NUMBERS)",
        "({p}._meta if type({p}) in PLAIN else type({p}))",
        "{p},",
        "({bit} if type({p}) in PLAIN and {p}._rg else 0)",
    ),
    "N": ("type({p}) not in NUMBERS", "type({p})", "{p},", ""),
    "OTN": (
        "({p} is not None and type({p}) not in PLAIN and type({p}) not in NUMBERS)",
        "(None if {p} is None else {p}._meta if type({p}) in PLAIN else type({p}))",
        "*(() if {p} is None else ({p},)),",
        "({bit} if type({p}) in PLAIN and {p}._rg else 0)",
    ),
    "d": ("type({p}) not in NUMBERS", "(None if s_{p} else type({p}))", "*(() if s_{p} else ({p},)),", ""),
    "TS": (
        "(type({p}) is not tuple and type({p}) is not list) or not PLAIN.issuperset(map(type, {p}))",
        "tuple([t._meta for t in {p}])",
        "*{p},",
        "",
    ),
    "number": ("", "(type({p}), {p})", "", ""),
    "static": ("", "{p}", "", ""),
}
SAME = "    s_{p} = {p} is _d_{p} or ({p} == _d_{p} and type({p}) is type(_d_{p}))\n"
PLAIN_END = """    if form.structure is None:
        return commit(S, form, {taken})
    return structured(form, commit(S, form, {taken}))"""
GRAD_END = """    if S.grad:
        needs = {needs}
        if needs:
            result = record_grad(S, form, {taken}, needs)
            return result if form.structure is None else structured(form, result)
    result = commit(S, form, {taken})
    return result if form.structure is None else structured(form, result)"""


def signature(entry: Entry, out: bool) -> str:
    """The parameters with their defaults; `out` if there is an out= form."""
    params = []
    late = ""  # dim may come under another name: what is required from there on is looked for later
    for p in entry.params:
        if p in entry.keyword and "*" not in params:
            params.append("*")
        late = late or ("=A" if p == "dim" and p not in entry.defaults else "")
        params.append(f"{p}=_d_{p}" if p in entry.defaults else p + late)
    for last in [*(f"{n}=A" for n in naming.others(entry.params)), *(("out=None",) if out else ())]:
        params += [last] if "*" in params else ["*", last]
    return ", ".join(params)


def named(entry: Entry, name: str, out: bool) -> str:
    """What is done where a parameter comes under another name, or is missing: it is put in its place."""
    test = naming.test(entry.params, [p for p in entry.params if p not in entry.defaults])
    if not test:
        return ""
    given = ", ".join(f"{n!r}: {n}" for n in naming.others(entry.params))
    values = ", ".join(entry.params)
    return f"""    if {test}:
        {values}, = in_order({name!r}, E.params, ({values},), {{{given}}}, E.defaults)
"""


def has_out(entry: Entry, inplace: bool) -> bool:
    """Whether the generated function takes out=."""
    return not inplace and not entry.facts.get("no_out")


def piece_of(entry: Entry, p: str) -> str:
    """Which row of PIECES a parameter is."""
    kind = entry.kinds[p]
    if kind == "N" and p in entry.defaults:
        return "d"
    if kind == "float":
        return "number"
    return kind if kind in PIECES else "static"


def source_of(entry: Entry, inplace: bool) -> str:
    """The text of an entry's function, or of its in-place form."""
    out = has_out(entry, inplace)
    name = entry.name + ("_" if inplace else "")
    return with_input(
        entry, plain_source(entry, name, signature(entry, out), inplace, out, named(entry, name, out))
    )


def with_input(entry: Entry, text: str) -> str:
    """The text with the first parameter's public name."""
    renamed = entry.params[:1] == ("self",) and "input" not in entry.params
    return re.sub(r"\bself\b", "input", text) if renamed else text


def plain_source(entry: Entry, name: str, parameters: str, inplace: bool, out: bool, first: str = "") -> str:
    """The definition in Python."""
    tests = ["S.depth"]
    keys: list[str] = []
    operands: list[str] = []
    needs: list[str] = []
    for p in entry.params:
        test, key, operand, need = PIECES[piece_of(entry, p)]
        bit = 1 << len(operands)
        for given, to in ((test, tests), (key, keys), (operand, operands), (need, needs)):
            if given:
                to.append(given.format(p=p, bit=bit))
    if out:
        tests.append("out is not None")
    values = ", ".join(entry.params) + ","
    check = f"    check({values})\n" if entry.check is not None else ""
    same = "".join([SAME.format(p=p) for p in entry.params if piece_of(entry, p) == "d"])
    return f"""
def {name}({parameters}):
{first}    S = LOCAL.s
    if {" or ".join(tests)}:
        return slow(E, ({values}), {"out" if out else "None"}, {inplace})
{same}    try:
        form = cache[{", ".join(keys)},]
    except (KeyError, TypeError):
        return slow(E, ({values}), None, {inplace})
{check}{ending(entry, name if inplace else "", "(" + " ".join(operands) + ")", needs)}
"""


def ending(entry: Entry, inplace: str, taken: str, needs: list[str]) -> str:
    """The last lines: record, with a gradient node where one is needed."""
    if inplace:
        return f"    return finish_inplace(S, form, {taken}, {inplace!r})"
    if entry.grads is None:
        return PLAIN_END.format(taken=taken)
    kinds = [piece_of(entry, p) for p in entry.params if entry.kinds[p] in (*OPERANDS, "TS")]
    first = next((k for k, kind in enumerate(kinds) if kind in ("d", "OT", "OTN")), len(kinds))
    late = any("T" in kind for kind in kinds[first + 1 :])
    if not needs or "TS" in kinds or late:  # the operands' numbers are not known here
        return f"    return finish_call(S, form, {taken})"
    return GRAD_END.format(taken=taken, needs=" | ".join(needs))


# The letter of a parameter in the context of an op's builtin (ops/builtins/calling.py).
LETTERS = {
    "T": "T",
    "TN": "t",
    "N": "N",
    "d": "d",
    "OT": "O",
    "OTN": "o",
    "TS": "L",
    "number": "f",
    "static": "s",
}


def letters_of(entry: Entry) -> bytes | None:
    """The kinds of an entry's parameters, for its builtin; None if the definition in Python takes every call."""
    if not entry.params:
        return None
    return "".join([LETTERS[piece_of(entry, p)] for p in entry.params]).encode()


def builtin_source(entry: Entry, inplace: bool) -> str:
    """The function of an entry that has a builtin, and `plain`: the definition in Python, of positional arguments."""
    out = has_out(entry, inplace)
    values = ", ".join(entry.params)
    other = f"""    if out is not None:
        return slow(E, ({values},), out, False)
"""
    name = entry.name + ("_" if inplace else "")
    text = f"""{plain_source(entry, "plain", values, inplace, False)}
def {name}({signature(entry, out)}):
{named(entry, name, out)}{other if out else ""}    return builtin({values})
"""
    return with_input(entry, text)
