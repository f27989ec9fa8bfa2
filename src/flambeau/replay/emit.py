"""The Python text of a replay's end: the results, gradients, versions and graph that the call would have left."""

from __future__ import annotations

from typing import Any

from ..ops.record import Form
from ..stream.gradient import AccumulateGrad, accumulator
from ..stream.storages import makers
from ..stream.value import (
    INFERENCE,
    PLAIN,
    RELEASED,
    Meta,
    Node,
    Storage,
    Tensor,
    Version,
    extras,
    make_tensor,
    version_of,
)
from .record import Recording, Refused
from .state import VALUES

SHARED = (Form, Meta, type(RELEASED), type, Storage)
RETURNED = (list, tuple, dict)


class Emitter:
    """Text and constants. Each object that the call made has one name, however often it is met."""

    def __init__(self, r: Recording):
        self.r = r
        self.scope: dict[str, Any] = {
            "new": object.__new__, "Tensor": Tensor, "Storage": Storage, "Version": Version,
            "make_tensor": make_tensor, "version_of": version_of, "accumulator": accumulator, "extras": extras,
            "INFERENCE": INFERENCE,
            **makers(),
        }  # fmt: skip
        self.lines: list[str] = []
        self.names: dict[int, str] = {}  # of objects, by id
        self.kept: list[Any] = []  # so that no id is used twice
        self.used: set[int] = set()  # slots of the storages that outlive the call
        self.copied: set[int] = set()  # slots of copies of foreign memory that do
        self.storages: dict[int, str] = {}  # the storages that were there before, by id
        self.count = 0

    def constant(self, x: Any) -> str:
        """The name of an object that is the same in every replay."""
        key = ~id(x)
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = f"k{len(self.scope)}"
            self.scope[name] = x
            self.kept.append(x)
        return name

    def fresh(self, prefix: str) -> str:
        """A name that is not taken yet."""
        self.count += 1
        return f"{prefix}{self.count}"

    def literal(self, x: Any) -> str:
        """A value as source text: itself, or the name of a constant."""
        if x is None or type(x) in (bool, int):
            return repr(x)
        return self.constant(x)

    def result(self, x: Any) -> str:
        """What the call returned."""
        if isinstance(x, Tensor):
            return self.tensor(x)
        if type(x) in VALUES:
            return self.literal(x)
        if isinstance(x, (list, tuple)) and (type(x) in RETURNED or hasattr(x, "_fields")):
            parts = [self.result(v) for v in x]
            if type(x) is list:
                return f"[{', '.join(parts)}]"
            if type(x) is tuple:
                return f"({''.join(p + ', ' for p in parts)})"
            return f"{self.constant(type(x))}({', '.join(parts)})"
        if type(x) is dict:
            return "{" + ", ".join(f"{self.literal(k)}: {self.result(v)}" for k, v in x.items()) + "}"
        if id(x) in self.r.state.seen:
            return self.constant(x)
        raise Refused(f"the call returns a {type(x).__name__} that it has made")

    def storage(self, st: Storage) -> str:
        """The name of a storage: one that is there, or one that the replay makes. Refused for outside memory."""
        known = self.storages.get(id(st))
        if known is not None:
            return known
        sid = self.r.sids.get(id(st))
        if sid is None:
            raise Refused("the call makes a tensor of outside data")
        original = self.r.copies.get(id(st))
        if original is not None:
            self.copied.add(sid)
            return f"s{sid}"
        if sid not in self.r.promised_set:
            raise Refused("the call keeps a constant that it has made")
        self.used.add(sid)
        return f"s{sid}"

    def version(self, v: Version | None) -> str:
        """The name of a counter of writes, made anew."""
        if v is None:
            return "None"
        if v is INFERENCE:
            return self.constant(v)
        name = self.names.get(id(v))
        if name is None:
            name = self.names[id(v)] = self.fresh("v")
            self.kept.append(v)
            self.lines += [f"{name} = Version()", f"{name}.n = {v.n}"] if v.n else [f"{name} = Version()"]
        return name

    def tensor(self, t: Tensor) -> str:
        """The name of a tensor, made anew unless it was there before. Refused for hooks and classes of their own."""
        name = self.names.get(id(t))
        if name is not None:
            return name
        kind = type(t)
        if kind not in PLAIN or (t._x is not None and (t._x.hooks or t._x.retains or t._x.post_hooks)):
            raise Refused("the call makes a tensor with hooks or of a class of its own")
        name = self.names[id(t)] = self.fresh("t")
        self.kept.append(t)
        offset = str(t._off)
        source = self.r.moving.get(id(t._st))
        if source is not None:
            offset = f"{self.names[id(source)]}._off + {t._off - source._off}"
        st = self.storage(t._st)
        make = "plain" if kind is Tensor else "make_tensor"
        self.lines.append(f"{name} = {make}({st}, {self.constant(t._meta)}, {offset}{self.of(kind)})")
        if t._ver is not None:
            self.lines.append(f"{name}._ver = {self.version(t._ver)}")
        if t._rg:
            self.lines.append(f"{name}._rg = True")
        if t._gf is not None:
            self.lines.append(f"{name}._gf = {self.node(t._gf)}")
            if t._nr:
                self.lines.append(f"{name}._nr = {t._nr}")
        if t._vw is not None:
            base, mode, seen = t._vw
            then = self.counted(base._ver, seen)
            self.lines.append(f"{name}._vw = ({self.tensor(base)}, {mode!r}, {then})")
        if t.__dict__:
            raise Refused("the call sets attributes of a tensor that it makes")
        return name

    @staticmethod
    def of(kind: type) -> str:
        """The argument that gives a tensor's class where it is not Tensor."""
        return "" if kind is Tensor else f", {kind.__name__}"

    def counted(self, v: Version | None, n: int) -> str:
        """A number of writes as it would be now: counters that were there before have gone on since."""
        if v is None:
            return str(n)
        if id(v) not in self.r.counters:
            return str(n)
        return f"{self.names[id(v)]}.n + {n - v.n}"

    # The graph

    def node(self, top: Node) -> str:
        """A node of the graph that the call leaves: itself where it holds nothing of this call, else one like it."""
        todo, entered = [top], set()
        while todo:
            n = todo[-1]
            if id(n) in self.names:
                todo.pop()
            elif id(n) in entered:
                todo.pop()
                self.kept.append(n)
                self.names[id(n)] = self.made(n)
            else:
                entered.add(id(n))
                todo += [e[0] for e in n.edges if e is not None]
        return self.names[id(top)]

    def made(self, n: Node) -> str:
        """The name of a node of the graph that the call leaves."""
        if type(n) is AccumulateGrad:
            owner = self.names.get(id(n.variable))
            if owner is None:
                raise Refused("the call makes a leaf that requires a gradient")
            return self.constant(n) if owner in self.scope else f"accumulator({owner})"
        if self.is_shared(n):
            return self.constant(n)
        if n.hooks is not None or not type(n).__module__.startswith(("torch.autograd", "flambeau.stream")):
            raise Refused(f"the graph that the call leaves has hooks or a node of the user's ({n.name()})")
        name = self.fresh("n")
        self.names[id(n)] = name
        self.lines.append(f"{name} = new({self.constant(type(n))})")
        slots = [s for cls in type(n).__mro__ for s in getattr(cls, "__slots__", ())]
        for slot in slots:
            if slot in ("__weakref__", "metadata_", "hooks", "saved", "versions") or not hasattr(n, slot):
                continue
            self.lines.append(f"{name}.{slot} = {self.part(getattr(n, slot))}")
        self.lines.append(f"{name}.metadata_ = {name}.hooks = None")
        self.saved(name, n)
        return name

    def saved(self, name: str, n: Node) -> None:
        """Append the lines that give a node what it saved, with the numbers of writes that it expects."""
        saved = getattr(n, "saved", None)
        self.lines.append(f"{name}.saved = {self.part(saved)}")
        versions = n.versions if hasattr(n, "versions") else None
        if type(saved) is not list:
            self.lines.append(f"{name}.versions = {versions!r}")
            return
        counts, moving = [], False
        for i, a in enumerate(saved):
            then = versions[i] if versions is not None and i < len(versions) else 0
            v = a._ver if isinstance(a, Tensor) else None
            if isinstance(a, Tensor) and id(a) in self.r.tensors:
                owner = self.names[id(a)]
                delta = then - (0 if v is None else v.n)
                counts.append(f"(0 if {owner}._ver is None else {owner}._ver.n + {delta})")
                moving = True
            else:
                counts.append(self.counted(v, then))
        text = f"({''.join(c + ', ' for c in counts)})" if versions is not None or moving else "None"
        self.lines.append(f"{name}.versions = {text}")

    def is_shared(self, n: Node) -> bool:
        """Whether a node holds no storage of this call, nor a way to one."""
        if any(e is not None and self.names[id(e[0])] not in self.scope for e in n.edges):
            return False
        slots = [s for cls in type(n).__mro__ for s in getattr(cls, "__slots__", ())]
        return all(
            self.is_plain(getattr(n, s)) for s in slots if hasattr(n, s) and s not in ("edges", "__weakref__")
        )

    def is_plain(self, x: Any) -> bool:
        """Whether a value is one that source text can name."""
        if x is None or type(x) in VALUES or (isinstance(x, SHARED) and not isinstance(x, Storage)):
            return True
        return isinstance(x, (tuple, list)) and all(map(self.is_plain, x))

    def part(self, x: Any) -> str:
        """The value of a field of a node."""
        if isinstance(x, Tensor):
            return self.tensor(x)
        if isinstance(x, Node):
            return self.names[id(x)] if id(x) in self.names else self.node(x)
        if isinstance(x, Storage):
            return self.storage(x)
        if isinstance(x, Version):
            return self.version(x)
        if type(x) is list:
            return f"[{', '.join(map(self.part, x))}]"
        if type(x) is tuple:
            return f"({''.join(self.part(v) + ', ' for v in x)})"
        if x is None or type(x) in VALUES or isinstance(x, SHARED):
            return self.literal(x)
        raise Refused(f"the graph that the call leaves holds a {type(x).__name__}")
