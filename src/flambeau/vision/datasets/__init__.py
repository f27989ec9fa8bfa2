"""torchvision.datasets: images to learn from, read from files that are there; the network is used only when asked."""

from __future__ import annotations

from .base import StandardTransform as StandardTransform
from .base import VisionDataset as VisionDataset
from .cifar import CIFAR10 as CIFAR10
from .cifar import CIFAR100 as CIFAR100
from .folder import DatasetFolder as DatasetFolder
from .folder import ImageFolder as ImageFolder
from .folder import ImageNet as ImageNet
from .folder import INaturalist as INaturalist
from .folder import Places365 as Places365
from .made import Digits as Digits
from .made import FakeData as FakeData
from .mnist import KMNIST as KMNIST
from .mnist import MNIST as MNIST
from .mnist import QMNIST as QMNIST
from .mnist import FashionMNIST as FashionMNIST
