"""Module: attributes, tables, iteration, state dictionaries, hooks, printing; each beside torch.nn."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")


def net(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(3, 4)
            self.bn = nn.BatchNorm1d(4)
            self.inner = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU())
            self.register_buffer("scale", torch.ones(2))
            self.register_buffer("hidden", torch.ones(1), persistent=False)
            self.gain = nn.Parameter(torch.full((2,), 2.0))
            self.nothing = None

        def forward(self, x, shift=0.0):
            return self.inner(self.bn(self.fc1(x))) * self.gain * self.scale + shift

    return Net()


def names(m):
    return {
        "parameters": [n for n, _ in m.named_parameters()],
        "buffers": [n for n, _ in m.named_buffers()],
        "modules": [n for n, _ in m.named_modules()],
        "children": [n for n, _ in m.named_children()],
        "state": list(m.state_dict()),
        "metadata": dict(m.state_dict()._metadata),
        "printed": repr(m),
    }


def test_names_and_printing(same) -> None:
    assert same(lambda nn: names(net(nn)))[0] == "returned"


# Each line is a way to use attributes, right or wrong: (name, program). The programs get nn and return anything.
ATTRIBUTES = {
    "parameter replaced by None": lambda nn: (m := net(nn), setattr(m, "gain", None), names(m))[-1],
    "parameter refuses a tensor": lambda nn: setattr(net(nn), "gain", torch.ones(2)),
    "parameter refuses a number": lambda nn: setattr(net(nn), "gain", 3),
    "parameter refuses a module": lambda nn: setattr(net(nn), "gain", nn.ReLU()),
    "module refuses a number": lambda nn: setattr(net(nn), "fc1", 3),
    "module replaced by None": lambda nn: (m := net(nn), setattr(m, "fc1", None), names(m))[-1],
    "module becomes a parameter": lambda nn: (
        m := net(nn),
        setattr(m, "fc1", nn.Parameter(torch.ones(1))),
        names(m),
    )[-1],
    "buffer replaced": lambda nn: (m := net(nn), setattr(m, "scale", torch.zeros(5)), m.scale, names(m)),
    "buffer refuses a string": lambda nn: setattr(net(nn), "scale", "x"),
    "buffer becomes a parameter": lambda nn: (
        m := net(nn),
        setattr(m, "scale", nn.Parameter(torch.ones(1))),
        names(m),
    )[-1],
    "Buffer assigned": lambda nn: (m := net(nn), setattr(m, "b", nn.Buffer(torch.ones(1))), names(m))[-1],
    "Buffer not persistent": lambda nn: (
        m := net(nn),
        setattr(m, "b", nn.Buffer(torch.ones(1), persistent=False)),
        names(m),
    )[-1],
    "plain tensor is a plain attribute": lambda nn: (m := net(nn), setattr(m, "t", torch.ones(1)), names(m))[
        -1
    ],
    "plain attribute becomes a parameter": lambda nn: (
        m := net(nn),
        setattr(m, "v", 3),
        setattr(m, "v", nn.Parameter(torch.ones(1))),
        m.v,
        names(m),
    )[-2:],
    "deleted parameter": lambda nn: (m := net(nn), delattr(m, "gain"), names(m), hasattr(m, "gain"))[-2:],
    "deleted buffer": lambda nn: (m := net(nn), delattr(m, "scale"), names(m), hasattr(m, "scale"))[-2:],
    "deleted module": lambda nn: (m := net(nn), delattr(m, "bn"), names(m), hasattr(m, "bn"))[-2:],
    "deleted nothing": lambda nn: delattr(net(nn), "absent"),
    "missing attribute": lambda nn: net(nn).absent,
    "module before init": lambda nn: type(
        "M", (nn.Module,), {"__init__": lambda s: setattr(s, "l", nn.ReLU())}
    )(),
    "parameter before init": lambda nn: type(
        "M", (nn.Module,), {"__init__": lambda s: setattr(s, "p", nn.Parameter(torch.ones(1)))}
    )(),
    "plain value before init": lambda nn: (
        type("M", (nn.Module,), {"__init__": lambda s: setattr(s, "p", 1)})().p
    ),
    "unexpected keyword": lambda nn: nn.Module(a=1),
    "unexpected positional": lambda nn: nn.Module(1, 2),
    "register_parameter twice": lambda nn: net(nn).register_parameter("gain", nn.Parameter(torch.zeros(1))),
    "register_parameter over module": lambda nn: net(nn).register_parameter(
        "fc1", nn.Parameter(torch.zeros(1))
    ),
    "register_parameter with a dot": lambda nn: net(nn).register_parameter("a.b", None),
    "register_parameter without name": lambda nn: net(nn).register_parameter("", None),
    "register_parameter of a number": lambda nn: net(nn).register_parameter(3, None),
    "register_parameter of a tensor": lambda nn: net(nn).register_parameter("p", torch.ones(1)),
    "register_parameter of a result": lambda nn: net(nn).register_parameter(
        "p", nn.Parameter(torch.ones(1)) * 2
    ),
    "register_buffer over a parameter": lambda nn: net(nn).register_buffer("gain", torch.ones(1)),
    "register_buffer with a dot": lambda nn: net(nn).register_buffer("a.b", torch.ones(1)),
    "register_buffer of a string": lambda nn: net(nn).register_buffer("b", "x"),
    "register_buffer made persistent": lambda nn: (
        m := net(nn),
        m.register_buffer("hidden", torch.ones(1)),
        names(m),
    )[-1],
    "add_module over attribute": lambda nn: net(nn).add_module("forward", nn.ReLU()),
    "add_module with a dot": lambda nn: net(nn).add_module("a.b", nn.ReLU()),
    "add_module without name": lambda nn: net(nn).add_module("", nn.ReLU()),
    "add_module of a number": lambda nn: net(nn).add_module("x", 3),
    "add_module named by a number": lambda nn: net(nn).add_module(3, nn.ReLU()),
    "forward is missing": lambda nn: nn.Module()(1),
    "train with a number": lambda nn: net(nn).train(1),
    "get_submodule": lambda nn: net(nn).get_submodule("inner.0"),
    "get_submodule missing": lambda nn: net(nn).get_submodule("inner.7"),
    "get_submodule of a parameter": lambda nn: net(nn).get_submodule("gain"),
    "get_parameter": lambda nn: net(nn).get_parameter("inner.0.weight").shape,
    "get_parameter missing": lambda nn: net(nn).get_parameter("inner.0.w"),
    "get_parameter of a module": lambda nn: net(nn).get_parameter("inner"),
    "get_buffer": lambda nn: net(nn).get_buffer("bn.running_var"),
    "get_buffer of a parameter": lambda nn: net(nn).get_buffer("gain"),
    "set_submodule": lambda nn: (m := net(nn), m.set_submodule("inner.1", nn.Tanh()), repr(m))[-1],
    "set_submodule without name": lambda nn: net(nn).set_submodule("", nn.Tanh()),
    "class attribute wins": lambda nn: (
        m := type("M", (nn.Module,), {"act": None})(),
        setattr(m, "act", nn.ReLU()),
        m.act,
        repr(m),
    )[-2:],
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(same, name) -> None:
    same(ATTRIBUTES[name])


def test_parameters_are_also_plain_attributes(mirror) -> None:
    """What makes `self.weight` cheap, and that writes to the tables from outside are seen."""
    nn = mirror.nn
    m = nn.Linear(2, 3)
    assert "weight" in m.__dict__
    other = nn.Parameter(torch.zeros(3, 2))
    m._parameters["weight"] = other
    assert m.weight is other
    del m._parameters["weight"]
    assert not hasattr(m, "weight")
    m._buffers["b"] = torch.ones(1)
    assert m.b is m._buffers["b"]
    m._buffers = OrderedDict(c=torch.ones(2))
    assert not hasattr(m, "b") or "b" not in m._buffers
    assert m.c.shape == (2,)
    m._modules.update(x=nn.ReLU())
    assert isinstance(m.x, nn.ReLU)
    m._modules.clear()
    assert not hasattr(m, "x")


def test_a_module_dies_without_the_collector(mirror) -> None:
    m = mirror.nn.Linear(2, 3)
    gone = weakref.ref(m.weight)
    gc.disable()
    try:
        del m
        assert gone() is None
    finally:
        gc.enable()


def test_copies_are_independent(mirror) -> None:
    nn = mirror.nn
    m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for twin in (copy.deepcopy(m), copy.copy(m)):
        twin[0].extra = 1
        assert [n for n, _ in twin.named_parameters()] == [n for n, _ in m.named_parameters()]
        assert twin[0].weight is twin[0]._parameters["weight"]
    twin = copy.deepcopy(m)
    twin[0].weight = nn.Parameter(torch.zeros(3, 2))
    assert m[0].weight is not twin[0].weight and m[0].weight is m[0]._parameters["weight"]
    shallow = copy.copy(m[0])
    shallow.weight = nn.Parameter(torch.zeros(3, 2))
    assert m[0].weight is m[0]._parameters["weight"]


def test_pickling_keeps_everything(mirror) -> None:
    import mirror.nn.modules  # where pickled classes say they live

    nn = mirror.nn
    m = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.3)).eval()
    again = pickle.loads(pickle.dumps(m))
    assert repr(again) == repr(m) and not again.training
    assert torch.equal(again[0].weight, m[0].weight) and isinstance(again[0].weight, nn.Parameter)
    assert type(m[0]).__module__.endswith("nn.modules.linear")


# --- state dictionaries


def loaded(nn, change, **options):
    m = net(nn)
    state = net(nn).state_dict()
    state = change(state, nn) or state
    result = m.load_state_dict(state, **options)
    return [result, m.state_dict(), isinstance(m.gain, nn.Parameter)]


def del_of(state, name):
    state.pop(name, None)


STATES = {
    "all match": (lambda s, nn: None, {}),
    "missing": (lambda s, nn: del_of(s, "fc1.weight"), {}),
    "missing, not strict": (lambda s, nn: del_of(s, "fc1.weight"), {"strict": False}),
    "unexpected": (
        lambda s, nn: s.update({"x": torch.ones(1), "fc1.y": torch.ones(1), "inner.5.z": torch.ones(1)}),
        {},
    ),
    "unexpected, not strict": (lambda s, nn: s.update({"x": torch.ones(1)}), {"strict": False}),
    "missing and unexpected": (lambda s, nn: s.update({"x": s.pop("gain")}), {}),
    "other shape": (lambda s, nn: s.update({"gain": torch.ones(3), "fc1.bias": torch.ones(1)}), {}),
    "not a tensor": (lambda s, nn: s.update({"gain": [1, 2]}), {}),
    "other dtype": (lambda s, nn: s.update({"gain": torch.tensor([3, 4])}), {}),
    "assign": (
        lambda s, nn: s.update({"gain": torch.tensor([3.0, 4.0], dtype=torch.float64)}),
        {"assign": True},
    ),
    "a list": (lambda s, nn: [1, 2], {}),
    "old batch norm": (
        lambda s, nn: (s._metadata["bn"].update(version=1), del_of(s, "bn.num_batches_tracked"))[1],
        {},
    ),
    "a plain dict": (lambda s, nn: dict(s), {}),
}


@pytest.mark.parametrize("name", STATES)
def test_load_state_dict(same, name) -> None:
    change, options = STATES[name]
    same(lambda nn: loaded(nn, change, **options))


def test_state_dict_arguments(same) -> None:
    same(lambda nn: list(net(nn).state_dict(prefix="a.", keep_vars=True).items()))
    same(lambda nn: list(net(nn).state_dict(OrderedDict(z=1), "p.")))


def test_extra_state(same) -> None:
    def program(nn):
        class Extra(nn.Module):
            def __init__(self):
                super().__init__()
                self.value = 0

            def get_extra_state(self):
                return {"value": self.value}

            def set_extra_state(self, state):
                self.value = state["value"]

        a, b = nn.Sequential(Extra()), nn.Sequential(Extra())
        a[0].value = 5
        state = a.state_dict()
        b.load_state_dict(state)
        missing = nn.Sequential(Extra()).load_state_dict({}, strict=False)
        plain = nn.Sequential(nn.ReLU()).load_state_dict(state, strict=False)
        return list(state), b[0].value, missing, plain

    same(program)


def test_state_dict_hooks(same) -> None:
    def program(nn):
        log, m = [], nn.Linear(1, 1)
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: log.append(("pre", prefix, keep)))
        m.register_state_dict_post_hook(
            lambda mod, state, prefix, meta: log.append(("post", list(state), meta))
        )
        m.register_load_state_dict_pre_hook(lambda mod, state, prefix, *rest: del_of(state, "junk"))
        m.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
        state = m.state_dict()
        state["junk"] = torch.ones(1)
        del state["bias"]
        return log, m.load_state_dict(state)

    same(program)


# --- hooks of the call


def test_forward_hooks(same) -> None:
    def program(nn):
        log, m = [], net(nn)
        handles = [
            m.register_forward_pre_hook(lambda mod, args: log.append("pre")),
            m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,)),
            m.register_forward_pre_hook(lambda mod, args, kw: (args, {"shift": 5.0}), with_kwargs=True),
            m.register_forward_pre_hook(lambda mod, args: log.append("first"), prepend=True),
            m.register_forward_hook(lambda mod, args, out: log.append(("out", out.shape))),
            m.register_forward_hook(
                lambda mod, args, kw, out: (log.append(kw), out * 2)[1], with_kwargs=True
            ),
            m.fc1.register_forward_hook(lambda mod, args, out: log.append("fc1")),
        ]
        x = torch.arange(6.0).view(2, 3)
        first = m(x)
        for handle in handles:
            handle.remove()
        return log, first, m(x)

    same(program)


def test_hooks_put_into_the_table_directly_run(mirror) -> None:
    m, log = mirror.nn.ReLU(), []
    m._forward_hooks[7] = lambda mod, args, out: log.append("seen")
    m(torch.ones(1))
    assert log == ["seen"]


def test_without_hooks_the_way_to_forward_is_one_frame(mirror) -> None:
    import sys

    class Depth(mirror.nn.Module):
        def forward(self):
            return sys._getframe(1).f_code.co_name, sys._getframe(2).f_code.co_name

    assert Depth()()[0] == "__call__"
    assert Depth()()[1] == "test_without_hooks_the_way_to_forward_is_one_frame"


def test_always_called_hooks(same) -> None:
    def program(nn):
        log = []

        class Bad(nn.Module):
            def forward(self, x):
                raise KeyError("bad")

        m = Bad()
        m.register_forward_hook(lambda mod, args, out: log.append(out), always_call=True)
        m.register_forward_hook(lambda mod, args, out: log.append("never"))
        try:
            m(1)
        except KeyError:
            log.append("raised")
        return log

    same(program)


def test_wrong_pre_hook(same) -> None:
    def program(nn):
        m = nn.ReLU()
        m.register_forward_pre_hook(lambda mod, args, kw: 3, with_kwargs=True)
        return m(torch.ones(1))

    same(program)


def backward_log(nn, register, needs_grad=True, x_needs=True):
    log, m = [], nn.Linear(2, 2)
    with torch.no_grad():
        m.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    register(m, log)
    x = torch.tensor([[1.0, -1.0]], requires_grad=x_needs)
    m(x).sum().backward()
    return log, x.grad, m.weight.grad


def test_full_backward_hooks(same) -> None:
    def full(m, log):
        m.register_full_backward_hook(lambda mod, gi, go: log.append((gi, go)))

    def replacing(m, log):
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 10,))
        m.register_full_backward_hook(lambda mod, gi, go: log.append(gi))

    def before(m, log):
        m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 3,))
        m.register_full_backward_hook(lambda mod, gi, go: log.append(go))

    def wrong_count(m, log):
        m.register_full_backward_hook(lambda mod, gi, go: (None, None))

    def both_kinds(m, log):
        m.register_full_backward_hook(lambda mod, gi, go: None)
        m.register_backward_hook(lambda mod, gi, go: None)

    for register in (full, replacing, before, wrong_count, both_kinds):
        same(lambda nn, register=register: backward_log(nn, register))
    same(lambda nn: backward_log(nn, full, x_needs=False))
    same(lambda nn: backward_log(nn, replacing, x_needs=False))


def test_global_hooks(mirror) -> None:
    import importlib

    nn, file = mirror.nn, importlib.import_module("mirror.nn.module")
    log = []
    handles = [
        file.register_module_forward_pre_hook(lambda m, args: log.append(("pre", type(m).__name__))),
        file.register_module_forward_hook(lambda m, args, out: log.append(("post", type(m).__name__))),
        file.register_module_parameter_registration_hook(lambda m, name, p: log.append(("param", name))),
    ]
    nn.Sequential(nn.Linear(1, 1, bias=False))(torch.ones(1))
    for handle in handles:
        handle.remove()
    nn.ReLU()(torch.ones(1))
    assert log == [
        ("param", "weight"),
        ("pre", "Sequential"),
        ("pre", "Linear"),
        ("post", "Linear"),
        ("post", "Sequential"),
    ]


# --- the whole tree


def test_conversion(same) -> None:
    def program(nn):
        m = net(nn)
        m.gain.grad = torch.ones(2)
        same_object = m.fc1.weight
        m.double()
        kept = same_object is m.fc1.weight
        dtypes = [p.dtype for p in m.parameters()] + [b.dtype for b in m.buffers()] + [m.gain.grad.dtype]
        m.to(torch.float16)
        dtypes += [m.gain.dtype, m.bn.num_batches_tracked.dtype]
        m.to("cpu", torch.float32)
        m.to(torch.zeros(1, dtype=torch.float64))
        return (
            kept,
            [str(d) for d in dtypes],
            str(m.gain.dtype),
            m.float().cpu().half().bfloat16().gain.dtype == torch.bfloat16,
        )

    same(program)
    same(lambda nn: net(nn).to(torch.int32))
    same(lambda nn: net(nn).type(torch.float64).gain)


def test_modes_and_gradients(same) -> None:
    def program(nn):
        m = net(nn)
        order = []
        m.apply(lambda mod: order.append(type(mod).__name__))
        m.eval()
        modes = [mod.training for mod in m.modules()]
        m.train().requires_grad_(False)
        frozen = [p.requires_grad for p in m.parameters()]
        m.requires_grad_()
        m(torch.ones(2, 3)).sum().backward()
        m.zero_grad(set_to_none=False)
        zeros = [p.grad for p in m.parameters()]
        m.zero_grad()
        return order, modes, frozen, zeros, [p.grad for p in m.parameters()]

    same(program)


def test_shared_modules_and_parameters(same) -> None:
    def program(nn):
        shared = nn.Linear(2, 2)
        m = nn.Sequential(shared, nn.ReLU(), shared)
        m.tied = m[0].weight
        return (
            names(m),
            [n for n, _ in m.named_modules(remove_duplicate=False)],
            [n for n, _ in m.named_parameters(remove_duplicate=False)],
        )

    same(program)
