"""Optimizers that are one rule for each tensor: what is the same from step to step is worked out once and kept."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any

import flambeau as torch

from ..errors import fail
from ..stream.capture import outside
from ..stream.value import LOCAL
from .apply import apply
from .optimizer import Optimizer

Values = dict[str, float]
_PLAIN = frozenset(
    (int, float, bool, str, type(None), list)
)  # options that cannot change unseen (list: parameters)


class PerTensorOptimizer(Optimizer):
    """An optimizer given by `rule` (see apply.py), the names of its states, and its numbers as a function of the step.

    Scalar states ("step", ...) are 0-dim tensors, as in PyTorch: views of one block for each group, mirrored in Python,
    so that a step reads no tensor and counts with one instruction whatever the number of parameters.
    """

    rule: Callable[..., tuple[Any, ...]]
    scalars: tuple[str, ...] = ("step",)
    elementwise = True  # whether the rule is
    of_decay: tuple[str, ...] = ("weight_decay",)  # the numbers that only weight decay needs

    def __init__(self, params: Any, defaults: dict[str, Any]):
        self._plans: dict[int, _Plan] = {}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans = {}

    def tensor_state(self, group: dict[str, Any], p: Any) -> tuple[str, ...]:
        """The names of p's tensor states, in the rule's order."""
        return ()

    def new_state(self, name: str, p: Any, group: dict[str, Any]) -> Any:
        """The first value of a state: zeros like p, 0.0 for a scalar."""
        return 0.0 if name in self.scalars else torch.zeros_like(p)

    def numbers(self, group: dict[str, Any], now: Values, p: Any) -> dict[str, Any]:
        """The rule's numbers for a step of parameters like p. `now`: scalar states (to be set), "step" counted."""
        raise NotImplementedError

    def statics(self, group: dict[str, Any], now: Values, first: bool) -> dict[str, Any]:
        """The rule's statics; `first`: the tensor states were made for this step."""
        return {"maximize": group["maximize"], "decay": is_set(group["weight_decay"])}

    def batch_key(self, p: Any) -> Any:
        """Parameters of one group whose keys are equal share their numbers."""
        return None

    def sparse_step(self, group: dict[str, Any], p: Any, grad: Any) -> None:
        """The step of one parameter whose gradient is sparse; RuntimeError from rules that have none."""
        name, advice = type(self).__name__, ""
        if name in ("Adam", "AdamW"):
            name, advice = "Adam", ", please consider SparseAdam instead"
        raise RuntimeError(f"{name} does not support sparse gradients{advice}")

    def _dense(self, group: dict[str, Any], grads: list[Any]) -> list[Any]:
        """Take the steps of sparse gradients; the others."""
        left = list(grads)
        for i, (p, grad) in enumerate(zip(group["params"], grads)):
            if grad is not None and grad.is_sparse:
                outside("a gradient is sparse")
                self.sparse_step(group, p, grad)
                left[i] = None
        return left

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients once; returns the loss of `closure`, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        S = LOCAL.s
        before, S.grad = S.grad, bool(self.defaults.get("differentiable"))
        try:
            for i, group in enumerate(self.param_groups):
                grads = [p.grad for p in group["params"]]
                if not _DENSE.issuperset(map(type, grads)):
                    grads = self._dense(group, grads)
                plan = self._plans.get(i)
                if plan is None or not plan.holds(self.state, group, grads):
                    if self.scalars or self.tensor_state(group, group["params"][0]):
                        outside("the optimizer makes its state", passing=True)
                    plan = self._plans[i] = _Plan(self, group, grads, plan)
                plan.run(self, group, grads)
        finally:
            S.grad = before
        return loss


_DENSE = frozenset((torch.Tensor, type(None)))


def is_set(value: Any) -> bool:
    """Whether an option takes part (a tensor always does where it needs a gradient)."""
    return bool(value != 0) or bool(getattr(value, "requires_grad", False))


def _layout(group: dict[str, Any]) -> tuple[Any, ...]:
    """The options on which the names of the states depend."""
    return (group.get("momentum", 0) != 0, group.get("amsgrad"), group.get("centered"), group.get("fused"))


class _Batch:
    """Parameters of one group with equal dtypes, devices, names of states and scalar states."""

    __slots__ = ("as_real", "first", "found", "known", "members", "names", "now", "params", "states", "taken")

    def __init__(self, names: tuple[str, ...], now: Values, first: bool, as_real: bool):
        self.names, self.now, self.first, self.as_real = names, now, first, as_real
        self.members: list[int] = []
        self.params: list[Any] = []
        self.states: list[dict[str, Any]] = []
        self.found: Any = None  # options, and the statics and numbers that follow from them alone
        self.known: Any = None
        self.taken: Any = None  # statics and numbers of the latest step

    def run(self, optimizer: PerTensorOptimizer, group: dict[str, Any], grads: list[Any]) -> None:
        self.now.update(self.counted())
        mine = grads if len(grads) == len(self.members) else [grads[i] for i in self.members]
        lists = [self.params, mine, *([state[name] for state in self.states] for name in self.names)]
        if self.as_real:
            lists = [[torch.view_as_real(t) for t in items] for items in lists]
        statics, numbers = self.taken = self.options(optimizer, group)
        rule = type(optimizer).rule
        self.known = apply(rule, lists, numbers, statics, optimizer.elementwise, self.known)
        self.first = False

    def counted(self) -> Values:
        """The scalar states with one more step."""
        return self.now | {"step": self.now["step"] + 1} if "step" in self.now else self.now

    def options(
        self, optimizer: PerTensorOptimizer, group: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The rule's statics and numbers for the step that `now` has counted; kept while no option changes, if they do
        not depend on it."""
        options = list(group.values())
        if self.found is not None and self.found[0] == options:
            return self.found[1:]
        statics = optimizer.statics(group, self.now, self.first)
        numbers = optimizer.numbers(group, self.now, self.params[0])
        if not statics.get("decay", True):  # each number costs: leave out what the formula does not use
            for name in optimizer.of_decay:
                numbers.pop(name, None)
        plain = not (self.now or self.first) and _PLAIN.issuperset(map(type, options))
        self.found = (options, statics, numbers) if plain else None
        return statics, numbers


class _Plan:
    """What one group needs for a step, for as long as `holds`."""

    def __init__(
        self, optimizer: PerTensorOptimizer, group: dict[str, Any], grads: list[Any], old: _Plan | None
    ):
        self.all = list(group["params"])
        self.layout = _layout(group)
        self.absent = [grad is None for grad in grads]
        self.live = [p for p, absent in zip(self.all, self.absent) if not absent]
        self.stateful = bool(optimizer.scalars) or any(optimizer.tensor_state(group, p) for p in self.live)
        self.seen: tuple[list[Any], list[Any]] | None = None  # keys and values of the optimizer's state
        self.states: list[dict[str, Any]] = [optimizer.state[p] if self.stateful else {} for p in self.live]
        known = old.mirror() if old is not None else {}
        self.batches = self._batches(optimizer, group, grads, known)
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        if group.get("fused"):
            dtype = torch.float32
        self.blocks = {name: self._block(name, dtype) for name in optimizer.scalars if self.live}

    def _batches(
        self,
        optimizer: PerTensorOptimizer,
        group: dict[str, Any],
        grads: list[Any],
        known: dict[int, float],
    ) -> list[_Batch]:
        batches: dict[Any, _Batch] = {}
        members = [i for i, absent in enumerate(self.absent) if not absent]
        for i, p, state in zip(members, self.live, self.states):
            _check(type(optimizer).__name__, p, grads[i], group)
            now = {}
            for name in optimizer.scalars:
                value = state.get(name)
                if value is None:
                    value = state[name] = optimizer.new_state(name, p, group)
                now[name] = known[id(value)] if id(value) in known else float(value)
            names = optimizer.tensor_state(group, p)
            missing = [name for name in names if state.get(name) is None]
            for name in missing:
                state[name] = optimizer.new_state(name, p, group)
            key = (p.dtype, p.device, names, bool(missing), *now.values(), optimizer.batch_key(p))
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = _Batch(names, now, bool(missing), p.is_complex())
            batch.members.append(i)
            batch.params.append(p)
            batch.states.append(state)
        return list(batches.values())

    def _block(self, name: str, dtype: Any) -> tuple[Any, list[Any], int]:
        """One tensor for this scalar state of all parameters, its elements (the states), and its version."""
        where = {id(state): batch.now[name] for batch in self.batches for state in batch.states}
        block = torch.tensor([where[id(state)] for state in self.states], dtype=dtype)
        views = [block[i] for i in range(len(self.states))]
        for state, view in zip(self.states, views):
            state[name] = view
        return block, views, block._version

    def mirror(self) -> dict[int, float]:
        """The values of the scalar states' tensors that nobody else wrote since."""
        known: dict[int, float] = {}
        where = {id(state): batch.now for batch in self.batches for state in batch.states}
        for name, (block, views, version) in self.blocks.items():
            if block._version == version:
                known |= {id(v): where[id(s)][name] for v, s in zip(views, self.states)}
        return known

    def holds(self, state: Any, group: dict[str, Any], grads: list[Any]) -> bool:
        """Whether parameters, states and the set of missing gradients are the ones of the plan."""
        return [grad is None for grad in grads] == self.absent and self.stands(state, group)

    def stands(self, state: Any, group: dict[str, Any]) -> bool:
        """`holds`, whatever the gradients."""
        params = group["params"]
        if len(params) != len(self.all) or not all(map(is_, params, self.all)):
            return False
        if _layout(group) != self.layout:
            return False
        if self.stateful and not self._found(state):
            return False
        for name, (block, views, version) in self.blocks.items():
            if block._version != version or not self._has(name, views):
                return False
        return True

    def _found(self, state: Any) -> bool:
        """Whether the parameters have the plan's states: all of `state` is as it was when they were looked up last."""
        if self.seen is not None:
            keys, values = self.seen
            same = len(state) == len(keys) and all(map(is_, state, keys))
            if same and all(map(is_, state.values(), values)):
                return True
        if not all(map(is_, map(state.get, self.live), self.states)):
            return False
        self.seen = list(state), list(state.values())
        return True

    def _has(self, name: str, views: list[Any]) -> bool:
        try:
            return all(map(is_, map(itemgetter(name), self.states), views))
        except KeyError:
            return False

    def run(self, optimizer: PerTensorOptimizer, group: dict[str, Any], grads: list[Any]) -> None:
        again = Again(optimizer, self, group) if LOCAL.s.capture is not None else None
        for batch in self.batches:
            batch.run(optimizer, group, grads)
            if again is not None:
                again.note(batch)
        for name, (block, views, _) in self.blocks.items():
            values = {batch.now[name] for batch in self.batches}
            if len(values) == 1:
                block.fill_(values.pop())
                if again is not None:
                    again.note_block(name)
            else:
                outside("parameters of one group are at different steps")
                where = {id(state): batch.now[name] for batch in self.batches for state in batch.states}
                block.copy_(torch.tensor([where[id(s)] for s in self.states], dtype=block.dtype))
            self.blocks[name] = (block, views, block._version)
        if again is not None and LOCAL.s.capture is not None:
            LOCAL.s.capture.act(again)


class Again:
    """One group's part in a captured step: what Python does for it at each replay. slots, values: its numbers."""

    def __init__(self, optimizer: PerTensorOptimizer, plan: _Plan, group: dict[str, Any]):
        self.optimizer, self.plan, self.group = optimizer, plan, group
        self.slots: list[int] = []
        self.values: list[Any] = []
        self.batches: list[tuple[_Batch, dict[str, Any]]] = []
        self.counted: list[str] = []
        self.index = next(i for i, g in enumerate(optimizer.param_groups) if g is group)
        self.seen: tuple[Any, ...] = ()
        self.before: list[Values] = []  # scalar states of each batch, before the step

    def note(self, batch: _Batch) -> None:
        """The batch was just recorded: its numbers are the last slots."""
        statics, numbers = batch.taken  # they are not worked out twice: that may set scalar states
        end = len(LOCAL.s.slots)
        self.slots += range(end - len(numbers), end)
        self.batches.append((batch, statics))

    def note_block(self, name: str) -> None:
        """The scalar state was just counted up: its value is the last slot."""
        self.slots.append(len(LOCAL.s.slots) - 1)
        self.counted.append(name)

    def ready(self) -> bool:
        """Whether the group is as it was when it was captured, but for its numbers."""
        optimizer, group = self.optimizer, self.group
        groups, plan = optimizer.param_groups, optimizer._plans.get(self.index)
        if plan is not self.plan or len(groups) <= self.index or groups[self.index] is not group:
            return False
        if not plan.stateful and self.seen and self.seen == tuple(group.values()):
            return True
        if not plan.stands(optimizer.state, group):
            return False
        return all(optimizer.statics(group, b.counted(), b.first) == statics for b, statics in self.batches)

    def advance(self) -> None:
        """Count the step and work out its numbers."""
        seen = tuple(self.group.values())
        if not self.counted and self.seen == seen:
            return
        values: list[Any] = []
        self.before = [dict(batch.now) for batch, _ in self.batches]
        for batch, _ in self.batches:
            batch.now.update(batch.counted())
            values += batch.options(self.optimizer, self.group)[1].values()
        values += [self.batches[0][0].now[name] for name in self.counted]
        self.values, self.seen = values, seen

    def settle(self) -> None:
        """After the run: the versions of the scalar states, which the replay has raised, are the plan's."""
        for name in self.counted:
            block, views, _ = self.plan.blocks[name]
            self.plan.blocks[name] = (block, views, block._version)

    def undo(self) -> None:
        """The run failed: the step does not count."""
        for (batch, _), now in zip(self.batches, self.before):
            batch.now.update(now)

    def same(self, other: Any) -> bool:
        """Whether another capture's action is this one."""
        return (
            type(other) is Again
            and (other.plan, other.slots, other.counted) == (self.plan, self.slots, self.counted)
            and [s for _, s in other.batches] == [s for _, s in self.batches]
        )


def _check(op: str, p: Any, grad: Any, group: dict[str, Any]) -> None:
    if group.get("fused") and not p.is_floating_point():
        fail(
            RuntimeError,
            f"{op}: `fused=True` requires all the params to be floating point Tensors of supported devices",
            param=p,
        )
