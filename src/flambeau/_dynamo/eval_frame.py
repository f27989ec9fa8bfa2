"""torch._dynamo.eval_frame: the class of captured modules, by which libraries know them."""

from ..compiler import OptimizedModule as OptimizedModule
