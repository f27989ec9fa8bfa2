"""torch._C._nn: how the arguments of Module.to are read."""

from ..nn.conversion import _parse_to as _parse_to
