"""Transforms of functions (torch.func): gradients, Jacobians, batching."""

from ..nn.utils.stateless import functional_call as functional_call
from .batching import vmap as vmap
from .transforms import (
    functionalize as functionalize,
    grad as grad,
    grad_and_value as grad_and_value,
    hessian as hessian,
    jacfwd as jacfwd,
    jacrev as jacrev,
    jvp as jvp,
    linearize as linearize,
    stack_module_state as stack_module_state,
    vjp as vjp,
)
