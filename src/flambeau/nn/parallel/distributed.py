"""torch.nn.parallel.distributed: where PyTorch has the class."""

from . import DistributedDataParallel as DistributedDataParallel
