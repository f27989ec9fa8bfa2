"""An optimizer around another one, as libraries write it: a subclass that is never initialised."""

from __future__ import annotations

import flambeau as torch


class Around(torch.optim.Optimizer):
    """Passes steps on."""

    def __init__(self, inner):
        self.inner = inner

    param_groups = property(lambda self: self.inner.param_groups)

    def step(self, closure=None):
        return self.inner.step(closure)

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)


def test_steps_are_passed_on_and_schedules_see_them() -> None:
    w = torch.ones(2, requires_grad=True)
    outer = Around(torch.optim.SGD([w], lr=0.5))
    schedule = torch.optim.lr_scheduler.StepLR(outer.inner, 1, gamma=0.1)
    for _ in range(2):
        outer.zero_grad()
        w.sum().backward()
        outer.step()
        schedule.step()
    assert torch.allclose(w, torch.tensor([0.45, 0.45]))
