"""Limited-memory BFGS (Liu and Nocedal, 1989), with a line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flambeau as torch

from ..errors import fail
from .apply import number
from .arguments import check
from .optimizer import Optimizer


class Point(NamedTuple):
    """A point on the line: its step, loss, gradient (all parameters, flat) and slope along the direction."""

    t: float
    loss: float
    grad: Any
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum within bounds of the cubic through values and slopes at a and b, or the middle if it has none."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    first, last = (a, b) if a.t <= b.t else (b, a)
    d1 = first.slope + last.slope - 3 * (first.loss - last.loss) / (first.t - last.t)
    square = d1 * d1 - first.slope * last.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square**0.5
    spread = last.slope - first.slope + 2 * d2
    if spread == 0:
        return (low + high) / 2.0
    t = last.t - (last.t - first.t) * ((last.slope + d2 - d1) / spread)
    return min(max(t, low), high)


class LineSearch:
    """A search along one direction for a step that satisfies the strong Wolfe conditions."""

    def __init__(self, evaluate: Callable[[float], Point], start: Point, size: float, limit: int):
        self.evaluate, self.start, self.size, self.limit = evaluate, start, size, limit
        self.evaluations = 0

    def at(self, t: float) -> Point:
        """Evaluate the loss at step t."""
        self.evaluations += 1
        return self.evaluate(t)

    def too_high(self, point: Point) -> bool:
        """Whether the loss has not fallen enough (c1 = 1e-4)."""
        return point.loss > self.start.loss + 1e-4 * point.t * self.start.slope

    def flat(self, point: Point) -> bool:
        """Whether the slope has become small enough (c2 = 0.9)."""
        return abs(point.slope) <= -0.9 * self.start.slope

    def run(self, t: float) -> Point:
        """The best point found, beginning with step t."""
        rounds, before, point = 0, self.start, self.at(t)
        while rounds < self.limit:
            if self.too_high(point) or (rounds > 1 and point.loss >= before.loss):
                return self.narrow(before, point, rounds)
            if self.flat(point):
                return point
            if point.slope >= 0:
                return self.narrow(before, point, rounds)
            bounds = (point.t + 0.01 * (point.t - before.t), point.t * 10)
            before, point = point, self.at(cubic_minimum(before, point, bounds))
            rounds += 1
        return self.start if self.start.loss <= point.loss else point

    def narrow(self, a: Point, b: Point, rounds: int) -> Point:
        """The best point between two that enclose a minimum."""
        low, high = (a, b) if a.loss <= b.loss else (b, a)
        stalled = False
        while rounds < self.limit and abs(high.t - low.t) * self.size >= 1e-9:
            t = cubic_minimum(a, b)
            left, right = min(low.t, high.t), max(low.t, high.t)
            edge = 0.1 * (right - left)
            if min(right - t, t - left) < edge:  # too near an end: move inside when it happens twice
                if stalled or t >= right or t <= left:
                    t = right - edge if abs(t - right) < abs(t - left) else left + edge
                    stalled = False
                else:
                    stalled = True
            else:
                stalled = False
            point = self.at(t)
            rounds += 1
            if self.too_high(point) or point.loss >= low.loss:
                low, high = (low, point) if low.loss <= point.loss else (point, low)
            else:
                if self.flat(point):
                    return point
                if point.slope * (high.t - low.t) >= 0:
                    high = low
                low = point
            a, b = low, high
        return low


class LBFGS(Optimizer):
    """A quasi-Newton method: `step(closure)` makes up to max_iter iterations. One parameter group only."""

    def __init__(
        self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ):  # fmt: skip
        check("LBFGS", lr=lr)
        max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        defaults = {"lr": lr, "max_iter": max_iter, "max_eval": max_eval, "tolerance_grad": tolerance_grad}
        defaults |= {"tolerance_change": tolerance_change, "history_size": history_size}
        super().__init__(params, defaults | {"line_search_fn": line_search_fn})
        if len(self.param_groups) != 1:
            fail(ValueError, "LBFGS: LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Any]:
        return self.param_groups[0]["params"]

    def _flat_grad(self) -> Any:
        parts = []
        for p in self._params:
            grad = torch.zeros_like(p) if p.grad is None else p.grad.to_dense()
            parts.append((torch.view_as_real(grad) if grad.is_complex() else grad).reshape(-1))
        return torch.cat(parts, 0)

    def _move(self, t: float, direction: Any) -> None:
        start = 0
        for p in self._params:
            real = torch.view_as_real(p) if p.is_complex() else p
            real.add_(direction[start : start + real.numel()].view_as(real), alpha=t)
            start += real.numel()

    def _evaluate(self, closure: Callable[[], Any], saved: list[Any], t: float, direction: Any) -> Point:
        self._move(t, direction)
        loss, grad = float(closure()), self._flat_grad()
        for p, value in zip(self._params, saved):
            p.copy_(value)
        return Point(t, loss, grad, float(grad.dot(direction)))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimize; `closure` clears the gradients, computes the loss, calls backward and returns the loss."""
        run = torch.enable_grad()(closure)
        group, state = self.param_groups[0], self.state[self._params[0]]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            fail(
                RuntimeError,
                "LBFGS: only 'strong_wolfe' is supported",
                line_search_fn=group["line_search_fn"],
            )
        first = run()
        loss, grad, evaluations = float(first), self._flat_grad(), 1
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        if _largest(grad) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            before = loss
            state["n_iter"] += 1
            direction, t = _direction(state, grad, group), number(group["lr"])
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / float(grad.abs().sum())) * t
            state.update(d=direction, prev_flat_grad=grad.clone(), prev_loss=loss)
            slope = float(grad.dot(direction))
            if slope > -group["tolerance_change"]:
                state["t"] = t
                break
            used = 0
            if group["line_search_fn"] is not None:
                saved = [p.clone() for p in self._params]
                evaluate = lambda t, d=direction, s=saved: self._evaluate(run, s, t, d)
                limit = group["max_eval"] - evaluations
                search = LineSearch(evaluate, Point(0.0, loss, grad, slope), _largest(direction), limit)
                t, loss, grad, _ = search.run(t)
                used = search.evaluations
                self._move(t, direction)
            else:
                self._move(t, direction)
                if iteration != group["max_iter"]:
                    loss, grad, used = float(run()), self._flat_grad(), 1
            state["t"] = t
            evaluations += used
            state["func_evals"] += used
            if self._done(group, evaluations, grad, direction, t, loss - before):
                break
        return first

    @staticmethod
    def _done(
        group: dict[str, Any], evaluations: int, grad: Any, direction: Any, t: float, change: float
    ) -> bool:
        return (
            evaluations >= group["max_eval"]
            or _largest(grad) <= group["tolerance_grad"]
            or _largest(direction) * abs(t) <= group["tolerance_change"]
            or abs(change) < group["tolerance_change"]
        )


def _largest(x: Any) -> float:
    return float(x.abs().max())


def _direction(state: dict[str, Any], grad: Any, group: dict[str, Any]) -> Any:
    """-H grad, H the approximate inverse Hessian of the last steps (two-loop recursion); updates the history."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return grad.neg()
    changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
    y, s = grad - state["prev_flat_grad"], state["d"] * state["t"]
    ys = y.dot(s)
    if ys > 1e-10:
        if len(changes) == group["history_size"]:
            for old in (changes, steps, ro):
                old.pop(0)
        changes.append(y)
        steps.append(s)
        ro.append(1.0 / ys)
        state["H_diag"] = ys / y.dot(y)
    al = state.setdefault("al", [None] * group["history_size"])
    q = grad.neg()
    for i in reversed(range(len(changes))):
        al[i] = steps[i].dot(q) * ro[i]
        q = q - changes[i] * al[i]
    r = q * state["H_diag"]
    for i in range(len(changes)):
        r = r + steps[i] * (al[i] - changes[i].dot(r) * ro[i])
    return r
