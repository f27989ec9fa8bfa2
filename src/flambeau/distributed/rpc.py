"""torch.distributed.rpc: calls of other processes; distributed training is not there yet."""

from ..absent import classes, functions

_WHAT = "distributed training"
globals().update(classes("distributed.rpc", _WHAT, "RRef", "TensorPipeRpcBackendOptions", "WorkerInfo"))
globals().update(
    functions("distributed.rpc", _WHAT, *("init_rpc", "remote", "rpc_async", "rpc_sync", "shutdown"))
)


def is_available() -> bool:
    """Whether other processes can be called: no."""
    return False
