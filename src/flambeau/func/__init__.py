"""Transforms of functions (torch.func): gradients, Jacobians, batching."""

from ..nn.utils.stateless import functional_call as functional_call
from .batching import vmap as vmap
from .transforms import (
    functionalize as functionalize,
)
from .transforms import (
    grad as grad,
)
from .transforms import (
    grad_and_value as grad_and_value,
)
from .transforms import (
    hessian as hessian,
)
from .transforms import (
    jacfwd as jacfwd,
)
from .transforms import (
    jacrev as jacrev,
)
from .transforms import (
    jvp as jvp,
)
from .transforms import (
    linearize as linearize,
)
from .transforms import (
    stack_module_state as stack_module_state,
)
from .transforms import (
    vjp as vjp,
)
