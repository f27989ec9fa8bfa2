"""torch.utils.data._utils: what programs import from there although it is not public."""

from . import collate as collate
