"""Data sets, samplers and loaders (torch.utils.data)."""

from ...data import *  # noqa: F403
from ...data.loader import _DatasetKind as _DatasetKind
from . import _utils as _utils
from . import dataloader as dataloader
from . import dataset as dataset
from . import distributed as distributed
from . import sampler as sampler
