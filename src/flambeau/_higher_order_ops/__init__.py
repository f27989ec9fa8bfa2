"""torch._higher_order_ops: functions of functions, which run as Python does."""

from .associative_scan import associative_scan as associative_scan
from .control import cond as cond
from .control import scan as scan
from .control import while_loop as while_loop
