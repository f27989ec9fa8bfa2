"""Captured modules and functions: their calls, what guards them, their graph, names and pickles."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

import flambeau as torch
from flambeau import compiler

nn = torch.nn


def bits(t: Any) -> Any:
    return None if t is None else t.detach().clone().numpy().tobytes()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.norm = nn.LayerNorm(16)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(16, 3)
        self.scale = 1.0

    def forward(self, x: Any) -> Any:
        h = self.drop(torch.relu(self.norm(self.first(x))))
        return self.last(h.view(-1, 16)) * self.scale


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def replays(f: Any) -> int:
    return len((f._call if isinstance(f, nn.Module) else f.captured).replays)


def test_a_module_trains_with_the_same_bits() -> None:
    trails = []
    for compiled in (False, True):
        model = net()
        call = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(5)
        trail = []
        for i in range(8):
            x = torch.randn(4, 6, requires_grad=i % 2 == 0)
            optimizer.zero_grad()
            out = call(x)
            (out**2).sum().backward()
            optimizer.step()
            trail.append([bits(out), bits(x.grad), *map(bits, model.state_dict().values())])
            trail.append([bits(p.grad) for p in model.parameters()])
        trails.append(trail)
    assert trails[0] == trails[1]
    assert replays(call) == 2


def test_saved_tensors_of_two_replays_are_two() -> None:
    model = net().eval()
    call = torch.compile(model)
    x = [torch.randn(3, 6) for _ in range(5)]
    for t in x:
        call(t)
    assert replays(call) == 1
    a, b = call(x[0]), call(x[1])
    b.sum().backward()
    (2 * a).sum().backward()
    found = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    first, second = model(x[0]), model(x[1])
    second.sum().backward()
    (2 * first).sum().backward()
    assert [bits(g) for g in found] == [bits(p.grad) for p in model.parameters()]


def test_the_graph_is_that_of_an_uncaptured_call() -> None:
    model = net().eval()
    call = torch.compile(model)
    x = torch.randn(3, 6, requires_grad=True)
    for _ in range(3):
        out = call(x)

    def names(t: Any) -> list[str]:
        found, todo = [], [t.grad_fn]
        while todo:
            node = todo.pop()
            found.append(node.name())
            todo += [n for n, _ in node.next_functions if n is not None]
        return found

    assert names(out) == names(model(x))
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g**2).sum(), x)
    (g2,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (h2,) = torch.autograd.grad((g2**2).sum(), x)
    assert bits(g) == bits(g2) and bits(h) == bits(h2)


def test_a_parameter_written_between_forward_and_backward_is_found() -> None:
    model = net().eval()
    call = torch.compile(model)
    x = torch.randn(3, 6, requires_grad=True)
    for _ in range(3):
        with torch.no_grad():
            model.last.weight.mul_(0.5)
        out = call(x)
        out.sum().backward()
    out = call(x)
    with torch.no_grad():
        model.last.weight.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    assert replays(call) == 1


def test_flags_attributes_and_modes_are_guards() -> None:
    model = net()
    call = torch.compile(model)
    x = torch.randn(4, 6)
    for _ in range(3):
        for training in (True, False):
            model.train(training)
            torch.manual_seed(1)
            a = call(x)
            torch.manual_seed(1)
            assert bits(a) == bits(model(x))
    assert replays(call) == 2
    model.eval()
    model.scale = 3.0
    assert bits(call(x)) == bits(model(x))
    model.last = nn.Linear(16, 2)
    assert bits(call(x)) == bits(model(x)) and call(x).shape == (4, 2)
    with torch.no_grad():
        assert not call(x).requires_grad and not call(x).requires_grad and not call(x).requires_grad
    assert call(x).requires_grad
    model.last.register_forward_hook(lambda m, i, o: o + 1)
    assert bits(call(x)) == bits(model(x))
    x2 = torch.randn(4, 6, dtype=torch.float64)
    assert bits(call.double()(x2)) == bits(model(x2))


def test_the_default_dtype_is_a_guard() -> None:
    @torch.compile
    def f(n: int) -> Any:
        return torch.ones(n) * 2

    for _ in range(3):
        assert f(3).dtype is torch.float32
    assert replays(f) == 1
    try:
        torch.set_default_dtype(torch.float64)
        assert f(3).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert f(3).dtype is torch.float32


def test_closure_and_global_values_are_guards() -> None:
    scale, table = 2.0, {"shift": 1.0, "list": [1.0]}

    @torch.compile
    def f(x: Any) -> Any:
        return x * scale + table["shift"] + table["list"][0]

    x = torch.ones(2)
    for _ in range(3):
        assert f(x).tolist() == [4, 4]
    assert replays(f) == 1
    scale = 3.0
    assert f(x).tolist() == [5, 5]
    table["shift"] = 5.0
    assert f(x).tolist() == [9, 9]
    table["list"][0] = 0.0
    assert f(x).tolist() == [8, 8]


def test_python_arguments_are_guards() -> None:
    @torch.compile
    def f(x: Any, k: Any, *rest: Any, flag: bool = False) -> Any:
        y = x * k if k > 0 else -x
        return y + len(rest) if flag else y

    x = torch.ones(2)
    for _ in range(3):
        assert f(x, 2).tolist() == [2, 2]
        assert f(x, 3).tolist() == [3, 3]
        assert f(x, -3).tolist() == [-1, -1]
        assert f(x, 2.5).tolist() == [2.5, 2.5]
        assert f(x, 2, 1, 1, flag=True).tolist() == [4, 4]
    assert replays(f) == 5


def test_aliasing_of_inputs_is_a_guard() -> None:
    @torch.compile
    def f(a: Any, b: Any) -> Any:
        a.mul_(2)
        return a + b

    for _ in range(3):
        assert f(torch.ones(2), torch.ones(2)).tolist() == [3, 3]
    t = torch.ones(2)
    assert f(t, t).tolist() == [4, 4]
    for _ in range(3):
        t = torch.ones(2)
        assert f(t, t).tolist() == [4, 4]
        assert f(torch.ones(2), torch.ones(2)).tolist() == [3, 3]
    base = torch.arange(6.0)
    for i in (1, 2, 1, 2, 1):
        base = torch.arange(6.0)
        expected = base[i : i + 2] * 2
        out = f(base[i : i + 2], base[4:6] if i == 1 else base[2:4])
        want = expected + (torch.tensor([4.0, 5.0]) if i == 1 else expected)
        assert out.tolist() == want.tolist()


def test_views_of_inputs_come_out_as_views() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        return x[1:], x.t(), (x * 2)[0]

    for _ in range(4):
        x = torch.arange(6.0).reshape(3, 2)
        a, b, c = f(x)
        x.add_(1)
        assert (
            a.tolist() == [[3, 4], [5, 6]] and b.tolist() == [[1, 3, 5], [2, 4, 6]] and c.tolist() == [0, 2]
        )
        a.zero_()
        assert x.tolist() == [[1, 2], [0, 0], [0, 0]] and a._base is x._base and c._base is not None
    assert replays(f) == 1


def test_an_input_comes_back_as_itself() -> None:
    @torch.compile
    def f(x: Any, y: Any) -> Any:
        x.add_(y)
        return {"x": x, "sum": [x.sum(), (x, None, 3, "text")]}

    for _ in range(4):
        x = torch.ones(2)
        out = f(x, torch.ones(2))
        assert out["x"] is x and out["sum"][1][0] is x and out["sum"][1][1:] == (None, 3, "text")
        assert out["sum"][0].item() == 4 and x.tolist() == [2, 2] and x._version == 1


def test_what_a_user_keeps_in_python_is_not_replayed() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x + 1

    g = torch.compile(f)
    with pytest.warns(UserWarning, match="runs uncaptured"):
        for _ in range(4):
            g(torch.ones(2))
    assert len(kept) == 4 and replays(g) == 0

    class Counter:
        n = 0

        def run(self, x: Any) -> Any:
            self.n += 1
            return x * self.n

    counter = Counter()
    run = torch.compile(counter.run)
    with pytest.warns(UserWarning, match="changes 'n'"):
        assert [run(torch.ones(1)).item() for _ in range(5)] == [1, 2, 3, 4, 5]


def test_numbers_from_nowhere_are_not_replayed() -> None:
    import random

    f = torch.compile(lambda x: x + random.random())
    with pytest.warns(UserWarning, match="random numbers of Python"):
        found = {f(torch.zeros(1)).item() for _ in range(6)}
    assert len(found) == 6
    import itertools

    count = itertools.count()
    g = torch.compile(lambda x: x + next(count))
    with pytest.warns(UserWarning, match="a count, which gives other values each time"):
        assert [g(torch.zeros(1)).item() for _ in range(8)] == list(range(8))


def test_random_numbers_follow_the_generator() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        return x + torch.rand(3), torch.randn(2)

    torch.manual_seed(0)
    got = [tuple(map(bits, f(torch.ones(3)))) for _ in range(6)]
    torch.manual_seed(0)
    want = [(bits(torch.ones(3) + torch.rand(3)), bits(torch.randn(2))) for _ in range(6)]
    assert got == want and replays(f) == 1
    torch.manual_seed(0)
    assert tuple(map(bits, f(torch.ones(3)))) == want[0]


def test_constants_made_in_the_call() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        return x * torch.tensor([1.0, 2.0]) + torch.zeros(2) + torch.arange(2)

    for i in range(4):
        assert f(torch.full((2,), float(i))).tolist() == [i, 2 * i + 1]
    assert replays(f) == 1


def test_names_state_and_pickle_are_the_modules() -> None:
    model = net()
    call = torch.compile(model)
    assert isinstance(call, Net) and call is not model and call._orig_mod is model
    assert list(call.state_dict()) == list(model.state_dict())
    assert [n for n, _ in call.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert repr(call) == repr(model)
    call.train(False)
    assert not model.training and not model.drop.training
    data = pickle.dumps(call)
    assert data == pickle.dumps(model) and type(pickle.loads(data)) is Net
    buffer = io.BytesIO()
    torch.save(call.state_dict(), buffer)
    other = net(1)
    other.load_state_dict(torch.load(io.BytesIO(buffer.getvalue())))
    x = torch.randn(2, 6)
    for _ in range(4):
        assert bits(other.eval()(x)) == bits(call(x))
    twin = copy.deepcopy(call)
    with torch.no_grad():
        twin.last.bias.add_(1)
    assert bits(twin(x)) != bits(call(x))
    whole = nn.Sequential(torch.compile(net()), nn.ReLU())
    assert next(iter(whole.state_dict())) == "0.first.weight"


def test_compile_of_the_module_itself() -> None:
    model = net().eval()
    x = torch.randn(2, 6)
    want = bits(model(x))
    model.compile()
    for _ in range(4):
        assert bits(model(x)) == want


def test_methods_and_decorators() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = net().eval()
            self.epoch = 0

        @torch.compile
        def one(self, x: Any) -> Any:
            """Says something."""
            return self.model(x)

        @torch.compile(fullgraph=True, dynamic=True, mode="reduce-overhead")
        def two(self, x: Any) -> Any:
            return self.model(x) * 2

    trainer = Trainer()
    x = torch.randn(2, 6)
    for _ in range(5):
        trainer.epoch += 1  # no code that is captured names it
        assert bits(trainer.one(x)) == bits(trainer.model(x))
        assert bits(trainer.two(x)) == bits(trainer.model(x) * 2)
    assert replays(Trainer.one) == 1 and Trainer.one.__doc__ == "Says something."
    assert Trainer.one.__name__ == "one"
    bound = torch.compile(trainer.model.forward)
    for _ in range(4):
        assert bits(bound(x)) == bits(trainer.model(x))
    assert replays(bound) == 1


def test_arguments_of_compile() -> None:
    def f(x: Any) -> Any:
        return x

    assert torch.compile(f, disable=True) is f and torch.compile(f, backend="eager") is f
    with pytest.raises(RuntimeError, match="Unrecognized mode"):
        torch.compile(f, mode="fast")
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(f, mode="default", options={})
    with pytest.raises(RuntimeError, match="Invalid backend"):
        torch.compile(f, backend="nonsense")

    @torch.compiler.disable
    def inner(x: Any) -> Any:
        return x * 2

    g = torch.compile(lambda x: inner(x) + (1 if torch.compiler.is_compiling() else 0))
    with pytest.warns(UserWarning, match="compiler.disable"):
        g(torch.ones(1))
    h = torch.compile(lambda x: x * 2)
    for _ in range(3):
        h(torch.ones(1))
    assert replays(h) == 1 and not torch.compiler.is_compiling()
    torch.compiler.reset()
    assert replays(h) == 0


def test_a_foreign_input_that_is_saved_for_backward() -> None:
    import numpy as np

    w = torch.ones(3, requires_grad=True)
    f = torch.compile(lambda x: (x * w).sum())
    for i in range(4):
        a = np.full(3, float(i), np.float32)
        y = f(torch.from_numpy(a))
        a[:] = 100
        w.grad = None
        y.backward()
        assert w.grad.tolist() == [i, i, i] and y.item() == 3 * i


def test_pending_work_and_other_threads() -> None:
    import threading

    f = torch.compile(lambda x: x * 2 + 1)
    results = []
    for _ in range(3):
        f(torch.ones(4))

    def work() -> None:
        for i in range(20):
            x = torch.full((4,), float(i)) + 1  # still pending when the replay needs it
            results.append(f(x).tolist() == [2 * i + 3] * 4)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 60 and all(results)


def test_random_numbers_like_another_tensor_and_uninitialised_memory() -> None:
    """Memory that the call takes by itself is taken anew by each replay."""

    def plain(x: Any) -> Any:
        std = torch.exp(0.5 * x)
        kept = torch.empty(128, 300)
        kept.copy_(x * 2)
        return std * torch.randn_like(std) + torch.rand_like(x), torch.empty_like(x).fill_(3) + x, kept

    f = torch.compile(plain)
    found = []
    for g in (plain, f):
        torch.manual_seed(0)
        x = torch.randn(128, 300)
        found.append([tuple(map(bits, g(x))) for _ in range(5)])
    assert found[0] == found[1] and replays(f) == 1


class Residual(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x: Any) -> Any:
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


def test_parts_of_a_model_are_captured_alone() -> None:
    runs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), Residual(16), Residual(16), nn.Linear(16, 3))
        captures = []
        if compiled:
            before = set(compiler._captured)
            for block in (model[1], model[2]):
                block.compile()
            captures = [c for c in compiler._captured if c not in before]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y, losses = torch.randn(4, 8), torch.tensor([0, 1, 2, 0]), []
        for _ in range(8):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        runs.append((losses, [p.tolist() for p in model.parameters()]))
        assert all(c.replays and not c.told for c in captures) and len(captures) == 2 * compiled
    assert runs[0] == runs[1]


ARGUMENTS: dict[str, Any] = {
    "results": lambda w: (w * 2, w.exp()),
    "one result twice": lambda w: (h := w * 2, h),
    "parts of one node": lambda w: (w * 3).chunk(2, 0),
    "views": lambda w: ((w * 2)[:1], (w * 3).t().t()[1:]),
    "a view of what was written since": lambda w: (h := w * 2, v := h[0], h.mul_(3), (v, h[1]))[-1],
    "a leaf and a result": lambda w: (w, w * 2),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_gradients_flow_on_from_what_was_captured(name: str) -> None:
    w, given = torch.arange(1.0, 9).view(2, 4).clone().requires_grad_(), ARGUMENTS[name]

    def f(u: Any, v: Any) -> Any:
        return (u * v).sin() * u

    captured = torch.compile(f)
    for k in range(5):
        grads = []
        for call in (captured, f):
            scaled = w * (0.1 * (k + 1)) if name != "a leaf and a result" else w
            (first,) = torch.autograd.grad(call(*given(scaled)).sum(), w, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), w)
            grads.append((first.tolist(), second.tolist()))
        assert grads[0] == grads[1], k
    (capture,) = [c for c in compiler._captured if c.fn is f]
    assert capture.replays and not capture.told


def test_other_nodes_or_outputs_are_other_captures() -> None:
    w = torch.arange(1.0, 9).view(2, 4).requires_grad_()

    def f(u: Any, v: Any) -> Any:
        return u * u * v

    captured = torch.compile(f)
    for i, j in [(0, 1)] * 3 + [(1, 0)] * 2 + [(0, 1)] + [(0, 0)] * 3 + [(1, 1)] * 2:
        found = []
        for call in (captured, f):
            parts = (w * 3).unbind(0)
            found += torch.autograd.grad(call(parts[i], parts[j]).sum(), w)
        assert torch.equal(*found)


def test_a_way_back_into_the_graph_before_is_not_captured() -> None:
    w = torch.ones(3, requires_grad=True)
    step = torch.compile(lambda t: t.sum().backward())
    with pytest.warns(UserWarning, match="recorded before the call"):
        for _ in range(5):
            w.grad = None
            step(w * 3)
            assert w.grad.tolist() == [3.0] * 3
