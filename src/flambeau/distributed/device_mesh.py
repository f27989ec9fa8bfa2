"""torch.distributed.device_mesh: processes in a grid; distributed training is not there yet."""

from ..absent import classes, functions

_WHAT = "distributed training"
globals().update(classes("distributed.device_mesh", _WHAT, "DeviceMesh"))
globals().update(functions("distributed.device_mesh", _WHAT, "init_device_mesh"))
