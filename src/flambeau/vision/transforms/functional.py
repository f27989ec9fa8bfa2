"""torchvision.transforms.functional: what the transforms do to one image."""

from __future__ import annotations

from ..images import InterpolationMode as InterpolationMode
from .colour import adjust_brightness as adjust_brightness
from .colour import adjust_contrast as adjust_contrast
from .colour import adjust_hue as adjust_hue
from .colour import adjust_saturation as adjust_saturation
from .colour import invert as invert
from .colour import rgb_to_grayscale as rgb_to_grayscale
from .colour import to_grayscale as to_grayscale
from .convert import convert_image_dtype as convert_image_dtype
from .convert import erase as erase
from .convert import get_dimensions as get_dimensions
from .convert import get_image_num_channels as get_image_num_channels
from .convert import get_image_size as get_image_size
from .convert import normalize as normalize
from .convert import pil_to_tensor as pil_to_tensor
from .convert import to_pil_image as to_pil_image
from .convert import to_tensor as to_tensor
from .geometry import center_crop as center_crop
from .geometry import crop as crop
from .geometry import five_crop as five_crop
from .geometry import gaussian_blur as gaussian_blur
from .geometry import hflip as hflip
from .geometry import pad as pad
from .geometry import resize as resize
from .geometry import resized_crop as resized_crop
from .geometry import rotate as rotate
from .geometry import ten_crop as ten_crop
from .geometry import vflip as vflip
