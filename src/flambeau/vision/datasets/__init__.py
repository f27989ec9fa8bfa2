"""torchvision.datasets: images to learn from, read from files that are there; the network is used only when asked."""

from __future__ import annotations

from ...absent import classes as _classes
from .base import StandardTransform as StandardTransform
from .base import VisionDataset as VisionDataset
from .cifar import CIFAR10 as CIFAR10
from .cifar import CIFAR100 as CIFAR100
from .folder import DatasetFolder as DatasetFolder
from .folder import ImageFolder as ImageFolder
from .made import Digits as Digits
from .made import FakeData as FakeData
from .mnist import KMNIST as KMNIST
from .mnist import MNIST as MNIST
from .mnist import QMNIST as QMNIST
from .mnist import FashionMNIST as FashionMNIST

globals().update(
    _classes(
        "vision.datasets", "this data set", "INaturalist", "ImageNet", "Places365"
    )  # ImageFolder reads them
)
