"""torch._subclasses: tensors without elements by which PyTorch's compiler traces; here none are made."""

from .fake_tensor import FakeTensor as FakeTensor
from .fake_tensor import FakeTensorMode as FakeTensorMode
