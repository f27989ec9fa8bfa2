"""Schedules against PyTorch's: the same rates, exactly."""

from __future__ import annotations

import pytest

import flambeau as fl

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings(
    "ignore:The epoch parameter", "ignore:Detected call", "ignore:To get the last"
)


class Decay:
    """A callable object: its attributes belong to the schedule's state."""

    def __init__(self, base):
        self.base = base

    def __call__(self, epoch):
        return self.base**epoch


SCHEDULES = [
    ("StepLR", {"step_size": 3}),
    ("MultiStepLR", {"milestones": [3, 7, 7, 9]}),
    ("ConstantLR", {"factor": 0.2, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 8}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {"total_iters": 12, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.001}),
    ("LambdaLR", {"lr_lambda": [Decay(0.9), lambda epoch: 1 / (epoch + 1)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.95}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "step_size_down": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "exp_range", "gamma": 0.9}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "scale_fn": lambda x: 0.5**x}),
    ("OneCycleLR", {"max_lr": [0.1, 0.2], "total_steps": 25}),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 5, "steps_per_epoch": 6, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 30, "three_phase": True}),
    ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 4}),
    ("SWALR", {"swa_lr": [0.05, 0.01], "anneal_epochs": 4, "anneal_strategy": "linear"}),
]  # fmt: skip
IDS = [name for name, _ in SCHEDULES]


def optimizer(lib, kind="SGD"):
    a, b = lib.zeros(2, requires_grad=True), lib.zeros(2, requires_grad=True)
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(lib.optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.1, **options)


def schedule(lib, name, owner, **options):
    home = lib.optim.swa_utils if name == "SWALR" else lib.optim.lr_scheduler
    return getattr(home, name)(owner, **options)


def trace(lib, name, options, kind="SGD", epochs=None):
    owner = optimizer(lib, kind)
    rates = schedule(lib, name, owner, **options)
    seen = [list(rates.get_last_lr())]
    for epoch in epochs or [None] * 20:
        owner.step()
        rates.step() if epoch is None else rates.step(epoch)
        momenta = [group["betas"] if kind == "Adam" else group["momentum"] for group in owner.param_groups]
        seen.append([*rates.get_last_lr(), *momenta])
    return seen, set(rates.state_dict()), [sorted(group) for group in owner.param_groups]


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_are_pytorchs(name, options, kind):
    assert trace(fl, name, options, kind) == trace(torch, name, options, kind)


@pytest.mark.parametrize(("name", "options"), SCHEDULES[:10], ids=IDS[:10])
def test_rates_of_given_epochs_are_pytorchs(name, options):
    epochs = [0, 3, 2, 7, 12, 1, 4]
    assert trace(fl, name, options, epochs=epochs) == trace(torch, name, options, epochs=epochs)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "mode": "max", "cooldown": 2},
        {"threshold_mode": "abs", "min_lr": [0.05, 0.1]},
    ],
)
def test_reduce_on_plateau(options):
    results = []
    for lib in (torch, fl):
        owner = optimizer(lib)
        rates = lib.optim.lr_scheduler.ReduceLROnPlateau(owner, **options)
        seen = []
        for metric in [5, 4, 4, 4, 4, 3, *[3] * 9, *[9] * 9, *[1] * 14]:
            owner.step()
            rates.step(metric)
            seen.append(list(rates.get_last_lr()))
        results.append((seen, set(rates.state_dict())))
    assert results[0] == results[1] and len({str(rate) for rate in results[0][0]}) > 1


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
def test_schedules_of_schedules(kind):
    results = []
    for lib in (torch, fl):
        owner, home = optimizer(lib), lib.optim.lr_scheduler
        parts = [
            home.ConstantLR(owner, factor=0.1, total_iters=2),
            home.ExponentialLR(owner, gamma=0.9),
            home.CosineAnnealingLR(owner, T_max=4),
        ]
        if kind == "SequentialLR":
            rates = home.SequentialLR(owner, parts, milestones=[3, 7])
        else:
            rates = home.ChainedScheduler(parts, optimizer=owner)
        seen = [list(rates.get_last_lr())]
        for _ in range(15):
            owner.step()
            rates.step()
            seen.append(list(rates.get_last_lr()))
        state = rates.state_dict()
        results.append((seen, set(state), [set(part) for part in state["_schedulers"]]))
    assert results[0] == results[1]


@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=IDS)
def test_a_schedule_goes_on_from_its_state(name, options):
    whole, halves = optimizer(fl), [optimizer(fl), optimizer(fl)]
    straight = schedule(fl, name, whole, **options)
    first = schedule(fl, name, halves[0], **options)
    for owner, rates, n in ((whole, straight, 12), (halves[0], first, 6)):
        for _ in range(n):
            owner.step()
            rates.step()
    second = schedule(fl, name, halves[1], **options)
    halves[1].load_state_dict(halves[0].state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        halves[1].step()
        second.step()
    assert second.get_last_lr() == straight.get_last_lr()


def test_a_step_before_the_optimizers_is_warned_of():
    owner = optimizer(fl)
    rates = fl.optim.lr_scheduler.StepLR(owner, 2)
    with pytest.warns(UserWarning, match=r"optimizer\.step"):
        rates.step()


@pytest.mark.parametrize(
    ("kind", "text", "make"),
    [
        (TypeError, "is not an Optimizer", lambda home, o: home.StepLR(3, 1)),
        (ValueError, "T_0", lambda home, o: home.CosineAnnealingWarmRestarts(o, T_0=0)),
        (ValueError, "total_steps", lambda home, o: home.OneCycleLR(o, 0.1)),
        (ValueError, "same length", lambda home, o: home.CyclicLR(o, [0.1], 0.2)),
        (ValueError, "lr_lambdas", lambda home, o: home.LambdaLR(o, [lambda e: 1])),
        (ValueError, "unknown", lambda home, o: home.ReduceLROnPlateau(o, mode="best")),
        (ValueError, "at least one scheduler", lambda home, o: home.ChainedScheduler([])),
        (KeyError, "initial_lr", lambda home, o: home.StepLR(o, 1, last_epoch=3)),
    ],
)
def test_wrong_arguments_are_refused(kind, text, make):
    with pytest.raises(kind, match=text):
        make(fl.optim.lr_scheduler, optimizer(fl))


def test_averages_of_models():
    results = []
    for lib in (torch, fl):
        model = lib.nn.Linear(2, 2)
        with lib.no_grad():
            model.weight.fill_(1.0)
            model.bias.fill_(2.0)
        for options in (
            {},
            {"multi_avg_fn": lib.optim.swa_utils.get_ema_multi_avg_fn(0.9)},
            {"avg_fn": lib.optim.swa_utils.get_ema_avg_fn(0.5)},
        ):
            averaged = lib.optim.swa_utils.AveragedModel(model, **options)
            for value in (1.0, 3.0, 5.0):
                with lib.no_grad():
                    model.weight.fill_(value)
                averaged.update_parameters(model)
            results += [averaged.module.weight[0, 1].item(), int(averaged.n_averaged)]
    assert results[: len(results) // 2] == pytest.approx(results[len(results) // 2 :])
