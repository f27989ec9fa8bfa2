"""torchvision.transforms: from pictures to tensors, and everything that is done to them on the way."""

from __future__ import annotations

from ..images import InterpolationMode as InterpolationMode
from . import functional as functional
from . import v2 as v2
from .chains import Compose as Compose
from .chains import ConvertImageDtype as ConvertImageDtype
from .chains import Lambda as Lambda
from .chains import Normalize as Normalize
from .chains import PILToTensor as PILToTensor
from .chains import RandomApply as RandomApply
from .chains import RandomChoice as RandomChoice
from .chains import RandomOrder as RandomOrder
from .chains import ToPILImage as ToPILImage
from .chains import ToTensor as ToTensor
from .layout import CenterCrop as CenterCrop
from .layout import FiveCrop as FiveCrop
from .layout import Pad as Pad
from .layout import RandomCrop as RandomCrop
from .layout import RandomErasing as RandomErasing
from .layout import RandomHorizontalFlip as RandomHorizontalFlip
from .layout import RandomResizedCrop as RandomResizedCrop
from .layout import RandomRotation as RandomRotation
from .layout import RandomVerticalFlip as RandomVerticalFlip
from .layout import Resize as Resize
from .layout import TenCrop as TenCrop
from .light import ColorJitter as ColorJitter
from .light import GaussianBlur as GaussianBlur
from .light import Grayscale as Grayscale
from .light import RandomGrayscale as RandomGrayscale
from .light import RandomInvert as RandomInvert
