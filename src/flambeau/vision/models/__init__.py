"""torchvision.models: well-known networks, untrained, with torchvision's names of the parameters."""

from __future__ import annotations

from . import feature_extraction as feature_extraction
from .densenet import DenseNet as DenseNet
from .densenet import densenet121 as densenet121
from .densenet import densenet161 as densenet161
from .densenet import densenet169 as densenet169
from .densenet import densenet201 as densenet201
from .plain import AlexNet as AlexNet
from .plain import LeNet as LeNet
from .plain import MobileNetV2 as MobileNetV2
from .plain import alexnet as alexnet
from .plain import lenet as lenet
from .plain import mobilenet_v2 as mobilenet_v2
from .registry import WEIGHTS
from .registry import WeightsEnum as WeightsEnum
from .registry import get_model as get_model
from .registry import get_model_builder as get_model_builder
from .registry import list_models as list_models
from .resnet import ResNet as ResNet
from .resnet import resnet18 as resnet18
from .resnet import resnet34 as resnet34
from .resnet import resnet50 as resnet50
from .resnet import resnet101 as resnet101
from .vgg import VGG as VGG
from .vgg import vgg11 as vgg11
from .vgg import vgg11_bn as vgg11_bn
from .vgg import vgg13 as vgg13
from .vgg import vgg13_bn as vgg13_bn
from .vgg import vgg16 as vgg16
from .vgg import vgg16_bn as vgg16_bn
from .vgg import vgg19 as vgg19
from .vgg import vgg19_bn as vgg19_bn

globals().update(WEIGHTS)
