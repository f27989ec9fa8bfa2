"""torch.fx.passes: what is done with whole graphs."""

from . import graph_manipulation as graph_manipulation
from . import shape_prop as shape_prop
