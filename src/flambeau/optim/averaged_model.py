"""A model whose parameters are averages of another's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import flambeau as torch

from ..errors import fail
from .swa_utils import get_swa_multi_avg_fn


class AveragedModel(torch.nn.Module):
    """A copy of `model` that `update_parameters` moves towards it: by an equal average, or by avg_fn or multi_avg_fn.

    avg_fn(average, current, n) returns the new average; multi_avg_fn(averages, currents, n) works in place.
    """

    def __init__(
        self,
        model: Any,
        device: Any = None,
        avg_fn: Callable[..., Any] | None = None,
        multi_avg_fn: Callable[..., Any] | None = None,
        use_buffers: bool = False,
    ):
        import copy

        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            fail(AssertionError, "AveragedModel: Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", torch.tensor(0, dtype=torch.long, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update_parameters(self, model: Any) -> None:
        """Take the parameters of `model` into the average; its buffers too (use_buffers), or as they are."""
        pairs = zip(self.module.parameters(), model.parameters())
        buffers = zip(self.module.buffers(), model.buffers())
        if self.use_buffers:
            pairs, buffers = chain(pairs, buffers), iter(())
        averages, currents = [], []
        for average, current in pairs:
            averages.append(average.detach())
            currents.append(current.detach().to(average.device))
        if self.n_averaged == 0:
            for average, current in zip(averages, currents):
                average.copy_(current)
        elif self.avg_fn is not None:
            for average, current in zip(averages, currents):
                average.copy_(self.avg_fn(average, current, self.n_averaged))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, currents, self.n_averaged)
        for mine, other in buffers:
            mine.detach().copy_(other.detach().to(mine.device))
        self.n_averaged += 1
