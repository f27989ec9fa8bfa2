"""Many names as short text: to compile source that names each of a long list takes a hundred times its size."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from .emit import Emitter

MANY = 8  # tests of one kind from which on they are a loop


def in_order(name: str) -> tuple[str, int]:
    """A key that sorts the items of a list by their numbers."""
    of, _, number = name.partition("[")
    return of, int(number[:-1]) if number[:-1].isdigit() else -1


class Lists:
    """The lists that a replay makes of the gradients that were there before, and of their storages."""

    def __init__(self, e: Emitter):
        self.e = e
        self.lengths: dict[str, int] = {}

    def note(self, name: str, length: int) -> None:
        """There is a list of gradients, and one of their storages."""
        self.lengths[name] = self.lengths[f"s_{name}"] = length

    def listed(self, names: list[str], of: str = "") -> str:
        """Names as the inside of a tuple; lists of which all are there, in order, are named as such. of: a function."""
        parts, at = [], 0
        while at < len(names):
            name = names[at].removesuffix("[0]")
            n = self.lengths.get(name, 0) if name != names[at] else 0
            if n and names[at : at + n] == [f"{name}[{i}]" for i in range(n)]:
                parts.append(f"*map({of}, {name})" if of else f"*{name}")
                at += n
            else:
                parts.append(f"{of}({names[at]})" if of else names[at])
                at += 1
        return "".join(f"{part}, " for part in parts)

    def addresses(self, values: list[str]) -> list[str]:
        """Arguments as text. Many addresses in a row are picked out of all: source that names each takes time and
        memory to compile."""
        e, parts = self.e, list[str]()
        for plain, texts in groupby(values, lambda text: text.endswith(".ptr") and " " not in text):
            run = [text.removesuffix(".ptr") if plain else text for text in texts]
            if plain and len(run) >= MANY:
                fixed = [name for name in dict.fromkeys(run) if name in e.scope]
                others = sorted(set(run) - set(fixed), key=in_order)
                places = {name: at for at, name in enumerate((*fixed, *others))}
                pick = e.constant(itemgetter(*[places[name] for name in run]))
                known = e.constant(tuple([e.scope[name] for name in fixed]))
                parts.append(f"*[x0.ptr for x0 in {pick}((*{known}, {self.listed(others)}))]")
            else:
                parts += [f"{name}.ptr" for name in run] if plain else run
        return parts
