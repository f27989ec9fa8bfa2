"""torch.distributed.tensor: tensors that lie on several devices; distributed training is not there yet."""

from ..absent import classes, functions

_WHAT = "distributed training"
globals().update(
    classes(
        "distributed.tensor", _WHAT, "DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard"
    )
)
globals().update(functions("distributed.tensor", _WHAT, "distribute_module", "distribute_tensor"))
