"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict, each beside torch.nn."""

from __future__ import annotations

from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")


def seq(nn):
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def stack(nn):
    return nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)])


def table(nn):
    return nn.ModuleDict({"b": nn.ReLU(), "a": nn.Linear(1, 1)})


def plist(nn):
    return nn.ParameterList([nn.Parameter(torch.ones(2)), torch.zeros(1, 3), 5, "x"])


def pdict(nn):
    return nn.ParameterDict({"b": nn.Parameter(torch.ones(2)), "a": torch.zeros(3), "n": 4})


PROGRAMS = {
    "sequential printed": seq,
    "sequential of a dictionary": lambda nn: nn.Sequential(OrderedDict(first=nn.ReLU(), second=nn.Tanh())),
    "sequential run": lambda nn: seq(nn)(torch.ones(1, 2)),
    "sequential slices": lambda nn: (seq(nn)[1:], seq(nn)[-1], seq(nn)[:2]),
    "sequential out of range": lambda nn: seq(nn)[3],
    "sequential set": lambda nn: (m := seq(nn), m.__setitem__(-1, nn.Tanh()), m)[-1],
    "sequential deleted": lambda nn: (m := seq(nn), m.__delitem__(0), m)[-1],
    "sequential deleted slice": lambda nn: (m := seq(nn), m.__delitem__(slice(0, 2)), m)[-1],
    "sequential grows": lambda nn: (
        m := seq(nn),
        m.append(nn.Tanh()),
        m.insert(0, nn.Sigmoid()),
        m.extend([nn.ReLU()]),
        m,
    )[-1],
    "sequential insert out of range": lambda nn: seq(nn).insert(7, nn.ReLU()),
    "sequential insert a number": lambda nn: seq(nn).insert(0, 1),
    "sequential added": lambda nn: seq(nn) + nn.Sequential(nn.Tanh()),
    "sequential added to a list": lambda nn: seq(nn) + [nn.Tanh()],
    "sequential times": lambda nn: (nn.Sequential(nn.ReLU()) * 3, 2 * nn.Sequential(nn.Tanh())),
    "sequential times zero": lambda nn: seq(nn) * 0,
    "sequential times a float": lambda nn: seq(nn) * 2.5,
    "sequential popped": lambda nn: (m := seq(nn), m.pop(1), m),
    "sequential of a number": lambda nn: nn.Sequential(3),
    "sequential length": lambda nn: (len(seq(nn)), [type(x).__name__ for x in seq(nn)]),
    "list printed with runs": stack,
    "list empty": lambda nn: nn.ModuleList(),
    "list of blocks printed": lambda nn: nn.ModuleList(
        [nn.Sequential(nn.Linear(1, 1), nn.ReLU()) for _ in range(3)]
    ),
    "list indexed": lambda nn: (stack(nn)[-1], stack(nn)[1:3], len(stack(nn))),
    "list out of range": lambda nn: stack(nn)[9],
    "list changed": lambda nn: (
        m := stack(nn),
        m.insert(1, nn.Tanh()),
        m.append(nn.GELU()),
        m.__delitem__(0),
        m.extend(stack(nn)),
        m.__setitem__(0, nn.SiLU()),
        m.__iadd__([nn.ReLU()]),
        m.pop(2),
        m,
        [n for n, _ in m.named_parameters()],
    )[-2:],
    "list added": lambda nn: stack(nn) + [nn.Tanh()],
    "list extended by a number": lambda nn: stack(nn).extend(3),
    "list called": lambda nn: stack(nn)(torch.ones(1)),
    "dict printed": table,
    "dict read": lambda nn: (
        table(nn)["a"],
        list(table(nn)),
        "a" in table(nn),
        len(table(nn)),
        list(table(nn).keys()),
    ),
    "dict changed": lambda nn: (
        m := table(nn),
        m.update({"c": nn.Tanh()}),
        m.update([("d", nn.GELU())]),
        m.pop("b"),
        m.__delitem__("a"),
        m,
    )[-1],
    "dict updated by a number": lambda nn: table(nn).update(3),
    "dict updated by triples": lambda nn: table(nn).update([(1, 2, 3)]),
    "dict of a method's name": lambda nn: nn.ModuleDict({"keys": nn.ReLU()}),
    "dict missing": lambda nn: table(nn)["zz"],
    "dict cleared": lambda nn: (m := table(nn), m.clear(), m)[-1],
    "parameter list printed": plist,
    "parameter list names": lambda nn: (
        [n for n, _ in plist(nn).named_parameters()],
        list(plist(nn).state_dict()),
    ),
    "parameter list changed": lambda nn: (
        m := plist(nn),
        m.append(torch.ones(2)),
        m.extend([torch.zeros(1)]),
        m.__setitem__(0, torch.ones(3)),
        len(m),
        m[1:3],
        list(m),
    ),
    "parameter list out of range": lambda nn: plist(nn)[10],
    "parameter list called": lambda nn: plist(nn)(),
    "parameter list extended by a number": lambda nn: plist(nn).extend(1),
    "parameter dict printed": pdict,
    "parameter dict read": lambda nn: (
        list(pdict(nn)),
        pdict(nn).get("zz", 7),
        [n for n, _ in pdict(nn).named_parameters()],
    ),
    "parameter dict changed": lambda nn: (
        m := pdict(nn),
        m.update({"c": torch.ones(1)}),
        m.pop("a"),
        m.setdefault("e", torch.ones(2)),
        m.popitem(),
        m.copy(),
        m | nn.ParameterDict({"q": torch.ones(1)}),
        m,
    ),
    "parameter dict keys must be strings": lambda nn: pdict(nn).__setitem__(3, torch.ones(1)),
    "parameter dict called": lambda nn: pdict(nn)(1),
    "parameter dict from keys": lambda nn: pdict(nn).fromkeys(["x", "y"], torch.ones(1)),
    "parameter dict cleared": lambda nn: (m := pdict(nn), m.clear(), len(m), m)[-2:],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_containers(same, name) -> None:
    same(PROGRAMS[name])
