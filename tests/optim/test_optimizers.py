"""Optimizers against PyTorch's: the same parameters, state and options after the same gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import flambeau as fl

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 1e-4, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("Adam", {"betas": (0.8, 0.9), "eps": 1e-5, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5, "amsgrad": True}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 6e-3}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta", {"rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True}),
    ("Rprop", {"lr": 0.02, "etas": (0.4, 1.3)}),
    ("ASGD", {"lr": 0.02, "t0": 3, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
    ("LBFGS", {"lr": 0.5, "max_iter": 4, "history_size": 3}),
    ("LBFGS", {"line_search_fn": "strong_wolfe", "max_iter": 6}),
]
SHAPES = [(5, 3), (4,), ()]


def start(lib, shapes=SHAPES, dtype="float32"):
    rng = np.random.default_rng(0)
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    targets = [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    return [lib.tensor(a).requires_grad_() for a in arrays], [lib.tensor(a) for a in targets]


def train(lib, optimizer, params, targets, steps, skip=False):
    """Descend sum (p - target)^4; with `skip` some parameters have no gradient in some steps."""
    for i in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = sum(((p - t) ** 4).sum() for p, t in zip(params, targets))
            loss.backward()
            return loss

        if type(optimizer).__name__ == "LBFGS":
            optimizer.step(closure)
            continue
        closure()
        if skip:
            params[i % len(params)].grad = None
        optimizer.step()


def same(ours, theirs, rtol=2e-6):
    scale = float(np.abs(theirs.detach().numpy()).max()) if theirs.numel() else 0.0
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=rtol * scale + 1e-12
    )


@pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v) or "default"
)
def test_ten_steps_are_pytorchs(name, options):
    runs = []
    for lib in (torch, fl):
        params, targets = start(lib)
        optimizer = getattr(lib.optim, name)(params, **options)
        train(lib, optimizer, params, targets, 10)
        runs.append((params, optimizer))
    (theirs, their_optimizer), (ours, our_optimizer) = runs
    for a, b in zip(ours, theirs):
        same(a, b, 1e-4 if name in ("LBFGS", "Adafactor") else 2e-6)
    assert repr(our_optimizer) == repr(their_optimizer)
    if name == "LBFGS":
        return
    a, b = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert [list(group) for group in a["param_groups"]] == [list(group) for group in b["param_groups"]]
    assert {k: list(v) for k, v in a["state"].items()} == {k: list(v) for k, v in b["state"].items()}
    for key, entry in b["state"].items():
        for name_, value in entry.items():
            same(a["state"][key][name_], value, 2e-5)
            assert str(a["state"][key][name_].dtype) == str(value.dtype)


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "ASGD"])
def test_parameters_without_gradient_are_left_out(name):
    options = {"momentum": 0.9} if name == "SGD" else {}
    runs = []
    for lib in (torch, fl):
        params, targets = start(lib)
        optimizer = getattr(lib.optim, name)(params, lr=0.01, **options)
        train(lib, optimizer, params, targets, 7, skip=True)
        runs.append((params, optimizer.state_dict()["state"]))
    for a, b in zip(runs[1][0], runs[0][0]):
        same(a, b)
    if name != "SGD":
        steps = [[float(state[i]["step"]) for i in range(3)] for _, state in runs]
        assert steps[0] == steps[1] == [4.0, 5.0, 5.0]


def test_muon():
    results = []
    for lib in (torch, fl):
        params, targets = start(lib, [(6, 4), (3, 8)])
        train(lib, lib.optim.Muon(params, lr=0.05), params, targets, 3)
        results.append(params)
    for a, b in zip(results[1], results[0]):
        same(a, b, 0.02)  # bfloat16 inside


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "NAdam"])
def test_state_goes_to_pytorch_and_back(name):
    """Half the steps here, half there, both ways: as if all were made in one place."""
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    make = lambda lib, params: getattr(lib.optim, name)(params, lr=0.01, **options)
    whole, targets = start(torch)
    train(torch, make(torch, whole), whole, targets, 6)
    for first, second in ((fl, torch), (torch, fl)):
        params, targets = start(first)
        optimizer = make(first, params)
        train(first, optimizer, params, targets, 3)
        carry = lambda v, lib=second: lib.tensor(v.detach().numpy()) if hasattr(v, "detach") else v
        state = optimizer.state_dict()
        state["state"] = {k: {n: carry(v) for n, v in s.items()} for k, s in state["state"].items()}
        params = [carry(p).requires_grad_() for p in params]
        resumed = make(second, params)
        resumed.load_state_dict(state)
        train(second, resumed, params, [carry(t) for t in targets], 3)
        for a, b in zip(params, whole):
            same(a, b)


def test_groups_have_options_of_their_own():
    for lib in (torch, fl):
        params, targets = start(lib)
        groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.0}]
        before = [p.detach().clone() for p in params]
        optimizer = lib.optim.Adam(groups, lr=0.1)
        train(lib, optimizer, params, targets, 2)
        assert not np.allclose(params[0].detach().numpy(), before[0].numpy())
        assert all(np.array_equal(p.detach().numpy(), b.numpy()) for p, b in zip(params[1:], before[1:]))
        extra = lib.tensor([1.0], requires_grad=True)
        optimizer.add_param_group({"params": extra})
        assert len(optimizer.param_groups) == 3 and optimizer.param_groups[2]["lr"] == 0.1


def test_state_replaced_by_the_user_is_used():
    params, targets = start(fl)
    optimizer = fl.optim.Adam(params, lr=0.01)
    train(fl, optimizer, params, targets, 2)
    state = optimizer.state[params[0]]
    state["step"].fill_(100.0)
    state["exp_avg"] = fl.zeros_like(params[0])
    del optimizer.state[params[1]]
    optimizer.state[params[2]] = {}
    train(fl, optimizer, params, targets, 1)
    assert [float(optimizer.state[p]["step"]) for p in params] == [101.0, 1.0, 1.0]


def test_a_group_whose_parameter_is_exchanged():
    params, targets = start(fl)
    optimizer = fl.optim.Adam(params, lr=0.01)
    train(fl, optimizer, params, targets, 2)
    new = fl.zeros(2, requires_grad=True)
    old_state = optimizer.state.pop(params[0])
    optimizer.param_groups[0]["params"][0] = new
    new.grad = fl.ones(2)
    optimizer.step()
    assert float(new.detach().numpy()[0]) == pytest.approx(-0.01)
    assert float(old_state["step"]) == 2 and float(optimizer.state[new]["step"]) == 1


def test_maximize_differentiable_step_has_a_gradient():
    lr = fl.tensor(0.1, requires_grad=True)
    w = fl.tensor([1.0, 2.0], requires_grad=True)
    p = w * 1
    optimizer = fl.optim.SGD([p], lr=lr, differentiable=True)
    p.grad = fl.tensor([3.0, 4.0])
    optimizer.step()
    p.sum().backward()
    assert float(lr.grad) == -7.0 and w.grad.tolist() == [1.0, 1.0]


def test_hooks_run_in_order_and_can_be_removed():
    seen = []
    params, targets = start(fl)
    optimizer = fl.optim.SGD(params, lr=0.1)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post")),
        optimizer.register_state_dict_post_hook(lambda o, state: state | {"more": 1}),
        fl.optim.optimizer.register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append("global")),
    ]
    train(fl, optimizer, params, targets, 1)
    assert seen == ["global", "pre", "post"] and optimizer.state_dict()["more"] == 1
    for handle in handles:
        handle.remove()
    train(fl, optimizer, params, targets, 1)
    assert len(seen) == 3 and "more" not in optimizer.state_dict()


def test_a_users_optimizer_and_closure():
    class Halver(fl.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"rate": 0.5})

        @fl.no_grad()
        def step(self, closure=None):
            loss = closure()
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(group["rate"])
            return loss

    p = fl.tensor([4.0], requires_grad=True)
    optimizer = Halver([p])
    seen = []
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(1))
    assert optimizer.step(lambda: 7) == 7 and p.tolist() == [2.0] and seen == [1]


def test_copies_and_pickles_keep_the_state():
    params, targets = start(fl)
    optimizer = fl.optim.Adam(params, lr=0.01)
    train(fl, optimizer, params, targets, 2)
    state = copy.deepcopy(optimizer.state_dict())
    train(fl, optimizer, params, targets, 1)
    assert float(state["state"][0]["step"]) == 2.0
    assert float(optimizer.state_dict()["state"][0]["step"]) == 3.0


def test_zero_grad():
    p = fl.tensor([1.0], requires_grad=True)
    optimizer = fl.optim.SGD([p])
    (p * 2).sum().backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert p.grad is None


EMPTY = {"state": {}, "param_groups": []}
WRONG = [
    (ValueError, "Invalid learning rate", lambda p: fl.optim.Adam([p], lr=-1)),
    (ValueError, "Invalid beta parameter at index 0", lambda p: fl.optim.Adam([p], betas=(1.0, 0.9))),
    (ValueError, "Invalid epsilon", lambda p: fl.optim.RMSprop([p], eps=-1)),
    (ValueError, "Nesterov momentum requires", lambda p: fl.optim.SGD([p], nesterov=True)),
    (ValueError, "empty parameter list", lambda p: fl.optim.SGD([])),
    (TypeError, "iterable of Tensors", lambda p: fl.optim.SGD(params=p)),
    (TypeError, "can only optimize Tensors", lambda p: fl.optim.SGD([3])),
    (TypeError, "ordered collections", lambda p: fl.optim.SGD([{"params": {p}}])),
    (ValueError, "non-leaf", lambda p: fl.optim.SGD([p * 2])),
    (ValueError, "more than one parameter group", lambda p: fl.optim.SGD([{"params": [p]}, {"params": [p]}])),
    (RuntimeError, "cannot be `True` together", lambda p: fl.optim.Adam([p], fused=True, foreach=True)),
    (ValueError, "2D", lambda p: fl.optim.Muon([p])),
    (ValueError, "number of parameter groups", lambda p: fl.optim.SGD([p]).load_state_dict(EMPTY)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "make"), WRONG, ids=[text for _, text, _ in WRONG])
def test_wrong_arguments_are_refused(kind, text, make):
    with pytest.raises(kind, match=text):
        make(fl.tensor([1.0], requires_grad=True))


def test_a_duplicate_parameter_is_warned_of():
    p = fl.tensor([1.0], requires_grad=True)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        fl.optim.SGD([p, p])


def test_numbers_of_a_rule_are_rounded_as_those_of_its_ops():
    """In bfloat16 `p.add(g, alpha=-lr)` rounds alpha; so does the rule that holds it."""
    fl.manual_seed(0)
    p, g = fl.randn(500).bfloat16(), fl.randn(500).bfloat16()
    x = fl.nn.Parameter(p.clone())
    x.grad = g
    fl.optim.SGD([x], lr=0.1).step()
    assert fl.equal(x.detach(), p.add(g, alpha=-0.1))


def test_lbfgs_keeps_the_step_as_it_was_given():
    x = fl.nn.Parameter(fl.ones(3))
    optimizer = fl.optim.LBFGS([x], max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = ((x - fl.tensor([1.0, 2.0, 3.0])) ** 2).sum() ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    assert type(optimizer.state[x]["t"]) is int
