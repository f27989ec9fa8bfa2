"""torch.distributed.nn: collectives with gradients; they need a process group, and there is none."""

import sys

from . import all_gather as all_gather  # type: ignore[attr-defined]
from . import all_reduce as all_reduce  # type: ignore[attr-defined]
from . import all_to_all as all_to_all  # type: ignore[attr-defined]
from . import broadcast as broadcast  # type: ignore[attr-defined]
from . import gather as gather  # type: ignore[attr-defined]
from . import reduce as reduce  # type: ignore[attr-defined]
from . import reduce_scatter as reduce_scatter  # type: ignore[attr-defined]
from . import scatter as scatter  # type: ignore[attr-defined]

functional = sys.modules[__name__]
