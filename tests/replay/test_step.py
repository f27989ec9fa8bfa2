"""A captured training step leaves what an uncaptured one leaves: values, gradients, states, random numbers, errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch

nn = torch.nn


def bits(t: Any) -> Any:
    return None if t is None else t.detach().clone().numpy().tobytes()


class Net(nn.Module):
    def __init__(self, p: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.drop = nn.Dropout(p)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


class Program:
    """A model, its optimizer and its batches, made anew from one seed for each side."""

    def __init__(self, optimizer: Callable[..., Any], p: float = 0.0, norm: bool = False) -> None:
        torch.manual_seed(3)
        self.model = Net(p, norm)
        self.optimizer = optimizer(self.model.parameters())
        self.xs = [torch.randn(5, 6) for _ in range(4)]
        self.ys = [torch.randint(0, 3, (5,)) for _ in range(4)]

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def state(self) -> list[Any]:
        found = [bits(t) for t in self.model.state_dict().values()]
        found += [bits(p.grad) for p in self.model.parameters()]
        for p in self.model.parameters():
            found += [bits(v) if isinstance(v, torch.Tensor) else v for v in self.optimizer.state[p].values()]
        return found + [bits(torch.get_rng_state())]


def captured(f: Any) -> int:
    return len(f.captured.replays)


def compare(
    make: Callable[[], Program], steps: int = 9, between: Callable[[Program, int], None] | None = None
) -> Any:
    """Run both sides; every loss and all state must have the same bits after every step."""
    sides = []
    for compiled in (False, True):
        program = make()
        step = torch.compile(program.step) if compiled else program.step
        torch.manual_seed(11)
        trail = []
        for i in range(steps):
            if between is not None:
                between(program, i)
            loss = step(program.xs[i % 4], program.ys[i % 4])
            trail.append((bits(loss), program.state()))
        sides.append(trail)
    for i, (a, b) in enumerate(zip(*sides)):
        assert a == b, f"step {i} differs"
    return step


SGD = lambda ps: torch.optim.SGD(ps, lr=0.1)
OPTIMIZERS = {
    "sgd": SGD,
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.01),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=0.01),
    "adagrad": lambda ps: torch.optim.Adagrad(ps, lr=0.01),
    "adadelta": lambda ps: torch.optim.Adadelta(ps, lr=0.5),
    "adamax": lambda ps: torch.optim.Adamax(ps, lr=0.01),
    "asgd": lambda ps: torch.optim.ASGD(ps, lr=0.05, lambd=0.1, t0=2),
    "nadam": lambda ps: torch.optim.NAdam(ps, lr=0.01),
    "radam": lambda ps: torch.optim.RAdam(ps, lr=0.01),
    "rprop": lambda ps: torch.optim.Rprop(ps, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_advances_as_uncaptured(name: str) -> None:
    step = compare(lambda: Program(OPTIMIZERS[name]))
    assert captured(step) == (2 if name in ("asgd", "radam") else 1)  # later steps have other formulas


def test_dropout_draws_new_numbers_in_each_replay() -> None:
    step = compare(lambda: Program(SGD, p=0.5))
    assert captured(step) == 1


def test_running_statistics_of_batch_norm_advance() -> None:
    step = compare(lambda: Program(OPTIMIZERS["adam"], norm=True))
    assert captured(step) == 1


def runs_of(fn: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """fn, and how often its Python ran."""
    count = [0]

    def counted(*args: Any) -> Any:
        count[0] += 1
        return fn(*args)

    return counted, count


def test_a_replay_runs_none_of_the_python() -> None:
    program = Program(OPTIMIZERS["adam"])
    real, calls = program.model.last.forward, []
    step = torch.compile(program.step)
    for _ in range(4):
        step(program.xs[0], program.ys[0])
    import sys

    sys.setprofile(lambda frame, event, arg: calls.append(frame.f_code) if event == "call" else None)
    try:
        step(program.xs[0], program.ys[0])
    finally:
        sys.setprofile(None)
    assert Program.step.__code__ not in calls and real.__func__.__code__ not in calls and calls


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("schedule", ["lambda", "step", "cosine", "sequential"])
def test_a_schedule_does_not_capture_anew(inside: bool, schedule: str) -> None:
    def make() -> Program:
        program = Program(OPTIMIZERS["momentum"])
        o, s = program.optimizer, torch.optim.lr_scheduler
        made = {
            "lambda": lambda: s.LambdaLR(o, lambda epoch: 0.9**epoch),
            "step": lambda: s.StepLR(o, 2),
            "cosine": lambda: s.CosineAnnealingLR(o, 10),
            "sequential": lambda: s.SequentialLR(o, [s.ConstantLR(o), s.ExponentialLR(o, 0.5)], [5]),
        }
        program.schedule = made[schedule]()
        plain = program.step

        def step(x: Any, y: Any) -> Any:
            loss = plain(x, y)
            program.schedule.step()
            return loss

        if inside:
            program.step = step
        return program

    def between(program: Program, i: int) -> None:
        if not inside and i:
            program.schedule.step()

    rates = []
    step = compare(make, 10, lambda p, i: (between(p, i), rates.append(p.optimizer.param_groups[0]["lr"]))[0])
    assert rates[:10] == rates[10:] and len(set(rates)) > 1
    assert captured(step) == 1


def test_weights_replaced_by_load_state_dict() -> None:
    saved = {k: v.clone() for k, v in Program(SGD, p=0.0).model.state_dict().items()}

    def between(program: Program, i: int) -> None:
        if i == 5:
            program.model.load_state_dict({k: v * 0.5 for k, v in saved.items()})
        if i == 7:
            program.optimizer.load_state_dict(program.optimizer.state_dict())

    compare(lambda: Program(OPTIMIZERS["adam"]), 11, between)


def test_a_parameter_is_assigned_anew() -> None:
    def between(program: Program, i: int) -> None:
        if i == 5:
            program.model.last.bias = nn.Parameter(torch.ones(3))
        if i == 7:
            program.model.last.weight.data = program.model.last.weight.data * 2
        if i == 9:
            program.model.first.weight.requires_grad_(False)

    compare(lambda: Program(SGD), 13, between)


class Deep(nn.Module):
    """Many parameters of one shape, and attributes called as the variables of a replay's loops are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), *[nn.Linear(16, 16) for _ in range(20)])
        self.last = nn.Linear(16, 3)
        self.x1, self.x0 = 0.5, 2

    def forward(self, x: Any) -> Any:
        return self.last(torch.tanh(self.layers(x)) * self.x1 + self.x0)


def test_a_step_of_many_parameters() -> None:
    """The tests of tensors that are alike are a loop; each of them still counts."""

    def make() -> Program:
        program = Program(OPTIMIZERS["adam"])
        torch.manual_seed(5)
        program.model = Deep()
        program.optimizer = OPTIMIZERS["adam"](program.model.parameters())
        return program

    def between(program: Program, i: int) -> None:
        layers = program.model.layers
        if i == 4:
            layers[19].weight.data = layers[19].weight.data * 2
        if i == 6:
            program.model.x1 = 0.25
        if i == 8:
            layers[3].bias.requires_grad_(False)
        if i == 10:
            program.optimizer.state[layers[7].weight]["exp_avg"] = torch.ones(16, 16)
        if i == 12:
            layers[5].weight.grad = torch.ones(16, 16)

    step = compare(make, 16, between)
    assert captured(step) > 1
    text = step.captured.replays[-1].text
    assert text.count("in k") >= 3 and len(text) < 300 * 44


@pytest.mark.parametrize("count", [3, 12])
def test_a_frozen_parameter_loses_its_gradient(count: int) -> None:
    """A gradient that a captured call has read, of a tensor that requires none, may be gone in the next call."""
    results = []
    for compiled in (False, True):
        parameters = [torch.full((3,), float(i)) for i in range(count)]
        for p in parameters:
            p.grad = torch.ones(3)
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(3)), *parameters], lr=0.5)
        step = torch.compile(optimizer.step) if compiled else optimizer.step
        for i in range(8):
            if i == 5:
                parameters[-1].grad = None
            step()
        results.append([bits(p) for p in parameters])
    assert results[0] == results[1]


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_source_of_a_long_list_is_no_longer_than_that_of_a_short_one(shuffled: bool) -> None:
    """Source that names each tensor takes a hundred times its size to compile, once for each tensor."""
    lengths = []
    for count in (100, 400):
        results = []
        for compiled in (False, True):
            parameters = [nn.Parameter(torch.full((3,), float(i))) for i in range(count)]
            for k, p in enumerate(parameters):
                p.grad = torch.full((3,), float(k % 7))
            optimizer = torch.optim.Adam(parameters, lr=0.1)
            step = torch.compile(optimizer.step) if compiled else optimizer.step
            for i in range(6):
                step()
                if shuffled:
                    for p in parameters[i::5]:
                        p.grad = torch.full((3,), float(i))
            results.append([bits(p) for p in parameters])
        assert results[0] == results[1] and captured(step) == 1
        lengths.append(len(step.captured.replays[0].text))
    assert lengths[1] < lengths[0] + 200 and lengths[0] < 4000


def test_train_and_eval() -> None:
    def between(program: Program, i: int) -> None:
        program.model.train(i % 4 != 3)

    compare(lambda: Program(SGD, p=0.5, norm=True), 12, between)


def test_gradients_that_accumulate() -> None:
    class Accumulating(Program):
        def step(self, x: Any, y: Any) -> Any:
            loss = nn.functional.cross_entropy(self.model(x), y) / 2
            loss.backward()
            return loss

    def between(program: Program, i: int) -> None:
        if i % 3 == 2:
            program.optimizer.step()
            program.optimizer.zero_grad()

    step = compare(lambda: Accumulating(SGD), 15, between)
    assert captured(step) == 2  # .grad is None, .grad is there


def test_gradients_set_to_zero() -> None:
    class Zeroing(Program):
        def step(self, x: Any, y: Any) -> Any:
            self.optimizer.zero_grad(set_to_none=False)
            loss = nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            return loss

    step = compare(lambda: Zeroing(SGD), 8)
    assert captured(step) == 1


def test_old_gradients_and_losses_survive() -> None:
    program = Program(SGD)
    step = torch.compile(program.step)
    kept = []
    for i in range(8):
        loss = step(program.xs[i % 4], program.ys[i % 4])
        grad = program.model.last.weight.grad
        kept.append((loss, loss.item(), grad, grad.sum().item()))
    assert captured(step) == 1
    assert len({id(k[0]) for k in kept}) == 8 and len({id(k[2]) for k in kept}) == 8
    for loss, value, grad, total in kept:
        assert loss.item() == value and grad.sum().item() == total
    assert kept[-1][0].requires_grad and kept[-1][0].grad_fn is not None
    with pytest.raises(RuntimeError, match="second time"):
        kept[-1][0].backward()


def test_several_shapes_are_kept_and_their_number_is_bounded() -> None:
    program = Program(SGD)
    step = torch.compile(program.step)
    for size in (1, 2, 3):
        for _ in range(3):
            step(torch.randn(size, 6), torch.zeros(size, dtype=torch.int64))
    assert captured(step) == 3
    for size in range(4, 16):
        for _ in range(3):
            step(torch.randn(size, 6), torch.zeros(size, dtype=torch.int64))
    assert captured(step) == 8


def test_batches_that_are_slices_of_one_tensor() -> None:
    def make() -> Program:
        program = Program(SGD)
        x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
        program.xs = [x[i : i + 5] for i in range(0, 20, 5)]
        program.ys = [y[i : i + 5] for i in range(0, 20, 5)]
        return program

    step = compare(make, 14)
    assert captured(step) == 2  # an offset of 0, and any other


def test_batches_of_numpy() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 6)).astype(np.float32) for _ in range(4)]

    def make() -> Program:
        program = Program(SGD)
        program.xs = [torch.from_numpy(a) for a in arrays]
        return program

    def between(program: Program, i: int) -> None:
        for a in arrays:
            a[:] = i + np.arange(30).reshape(5, 6)

    step = compare(make, 10, between)
    assert captured(step) == 1


def test_a_value_that_is_read_ends_the_capture_with_one_warning() -> None:
    program = Program(SGD)

    def step(x: Any, y: Any) -> float:
        return float(program.step(x, y))

    compiled = torch.compile(step)
    with pytest.warns(UserWarning, match=r"step runs uncaptured: a value is read at .*test_step.py:\d+"):
        compiled(program.xs[0], program.ys[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            compiled(program.xs[0], program.ys[0])
    assert captured(compiled) == 0
    with pytest.raises(RuntimeError, match="uncaptured"):
        torch.compile(step, fullgraph=True)(program.xs[0], program.ys[0])


def test_a_branch_on_a_value_ends_the_capture() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        return x * 2 if x.sum() > 0 else x - 1

    with pytest.warns(UserWarning, match="a value is read"):
        assert f(torch.ones(2)).tolist() == [2, 2]
    assert f(-torch.ones(2)).tolist() == [-2, -2] and f(torch.ones(2)).tolist() == [2, 2]


def test_an_exception_in_the_middle() -> None:
    def run(compiled: bool) -> list[Any]:
        program = Program(SGD)
        table = nn.Embedding(4, 6)
        torch.manual_seed(1)
        nn.init.normal_(table.weight)
        trail: list[Any] = []

        def step(i: Any, y: Any) -> Any:
            program.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(program.model(table(i)), y)
            loss.backward()
            program.optimizer.step()
            return loss

        f = torch.compile(step) if compiled else step
        index = torch.tensor([0, 1, 2, 3, 0])
        for k in range(9):
            i = index + 10 if k == 5 else index
            try:
                trail.append(bits(f(i, program.ys[0])))
            except IndexError as error:
                assert "index 10 is out of bounds" in str(error)
                trail.append("IndexError")
                program.optimizer.zero_grad()
            if k != 5:
                trail.append(program.state())
        if compiled:
            assert captured(f) >= 1
        return trail

    assert run(False) == run(True)


def test_python_raises_in_the_middle_of_a_recording() -> None:
    program = Program(SGD)
    bad = [True]

    def step(x: Any, y: Any) -> Any:
        loss = program.step(x, y)
        if bad[0]:
            raise KeyError("mine")
        return loss

    f = torch.compile(step)
    before = bits(program.model.last.weight)
    with pytest.raises(KeyError, match="mine"):
        f(program.xs[0], program.ys[0])
    assert bits(program.model.last.weight) != before
    bad[0] = False
    for _ in range(4):
        f(program.xs[0], program.ys[0])
    assert captured(f) == 1
    bad[0] = True
    with pytest.raises(KeyError, match="mine"):
        f(program.xs[0], program.ys[0])


def test_explain_shows_a_captured_step(capsys: Any) -> None:
    program = Program(SGD)
    step = torch.compile(program.step)
    for _ in range(4):
        step(program.xs[0], program.ys[0])
    found = torch.explain(step, program.xs[0], program.ys[0])
    assert len(found.flushes) == 1 and len(found.kernels) >= 3
    assert any("cross_entropy" in text or "nll" in text for text in found.flushes[0].instructions)
    assert "kernel" in capsys.readouterr().out


def test_states_taken_away_or_exchanged() -> None:
    """The states of parameters are found by what the optimizer's dictionary holds, in whatever way that changed."""

    def between(program: Program, i: int) -> None:
        state = program.optimizer.state
        a, b = list(program.model.parameters())[1::2]
        if i == 3:
            state.clear()
        if i == 6:
            state[a] = dict(state[a])
        if i == 8:
            state[a]["momentum_buffer"] = state[a]["momentum_buffer"].clone()
        if i == 10:
            del state[b]

    step = compare(lambda: Program(OPTIMIZERS["momentum"]), 16, between)
    assert captured(step) >= 1
    compare(
        lambda: Program(OPTIMIZERS["adam"]), 9, lambda p, i: p.optimizer.state.clear() if i == 5 else None
    )
