"""Every mistake that users make most: the program, PyTorch's exception type, and what flambeau says (the first line).

A changed message is changed here too: this file is where the words are read side by side.
"""

# ruff: noqa: E501

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch

F = torch.nn.functional


def backward_twice() -> None:
    x = torch.ones(3, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def overwrite_what_is_saved() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


CASES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "add shapes": (
        lambda: torch.ones(2, 3) + torch.ones(4, 5),
        RuntimeError,
        "add: The size of tensor a (3) must match the size of tensor b (5) at non-singleton dimension 1; got shapes (2, 3), (4, 5); extents must be equal or 1 to broadcast",
    ),
    "mul shapes": (
        lambda: torch.ones(3) * torch.ones(4),
        RuntimeError,
        "mul: The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0; got shapes (3,), (4,); extents must be equal or 1 to broadcast",
    ),
    "matmul shapes": (
        lambda: torch.ones(2, 3) @ torch.ones(4, 5),
        RuntimeError,
        "mm: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5); the columns of the first must equal the rows of the second",
    ),
    "mm dims": (
        lambda: torch.mm(torch.ones(2), torch.ones(2)),
        RuntimeError,
        "mm: self must be a matrix; got a tensor of 1 dimensions; use matmul for stacks",
    ),
    "bmm": (
        lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 5, 6)),
        RuntimeError,
        "bmm: Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 5].",
    ),
    "bmm batch": (
        lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(3, 4, 6)),
        RuntimeError,
        "bmm: Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [3, 4].",
    ),
    "matmul0": (
        lambda: torch.ones(()) @ torch.ones(3),
        RuntimeError,
        "matmul: both arguments to matmul need to be at least 1D, but they are 0D and 1D",
    ),
    "mv": (
        lambda: torch.mv(torch.ones(2, 3), torch.ones(2)),
        RuntimeError,
        "mv: size mismatch, got input (2), mat (2x3), vec (2)",
    ),
    "dot": (
        lambda: torch.dot(torch.ones(2), torch.ones(3)),
        RuntimeError,
        "dot: inconsistent tensor size, expected tensor [2] and src [3] to have the same number of elements, but got 2 and 3 elements respectively",
    ),
    "linear": (
        lambda: F.linear(torch.ones(2, 3), torch.ones(4, 5)),
        RuntimeError,
        "linear: mat1 and mat2 shapes cannot be multiplied (2x3 and 5x4); the columns of the first must equal the rows of the second",
    ),
    "linear mod": (
        lambda: torch.nn.Linear(3, 2)(torch.ones(2, 4)),
        RuntimeError,
        "linear: mat1 and mat2 shapes cannot be multiplied (2x4 and 3x2); the columns of the first must equal the rows of the second",
    ),
    "conv channels": (
        lambda: F.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 2, 3, 3)),
        RuntimeError,
        "conv2d: Given groups=1, weight of size [4, 2, 3, 3], expected input[1, 3, 8, 8] to have 2 channels, but got 3 channels instead",
    ),
    "conv dims": (
        lambda: F.conv2d(torch.ones(3, 3), torch.ones(4, 3, 3, 3)),
        RuntimeError,
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [3, 3]",
    ),
    "conv dilation": (
        lambda: F.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2), dilation=-1),
        RuntimeError,
        "conv2d: dilation should be greater than zero; got dilation=(-1, -1)",
    ),
    "conv groups": (
        lambda: F.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2), groups=0),
        RuntimeError,
        "conv2d: non-positive groups is not supported; got groups=0",
    ),
    "transposed conv groups": (
        lambda: F.conv_transpose1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2), groups=0),
        RuntimeError,
        "conv_transpose1d: non-positive groups is not supported; got groups=0",
    ),
    "conv small": (
        lambda: F.conv2d(torch.ones(1, 3, 2, 2), torch.ones(4, 3, 5, 5)),
        RuntimeError,
        "conv2d: Calculated padded input size per channel: (2 x 2). Kernel size: (5 x 5). Kernel size can't be greater than actual input size",
    ),
    "pool small": (
        lambda: F.max_pool2d(torch.ones(1, 1, 2, 2), 5),
        RuntimeError,
        "max_pool2d: Given input size: (1, 2, 2). Calculated output size: (1, 0, 0). Output size is too small",
    ),
    "cat shapes": (
        lambda: torch.cat([torch.ones(2, 3), torch.ones(2, 4)]),
        RuntimeError,
        "cat: Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4 for tensor number 1 in the list.",
    ),
    "cat empty": (
        lambda: torch.cat([]),
        ValueError,
        "cat: expected a non-empty list of Tensors",
    ),
    "stack shapes": (
        lambda: torch.stack([torch.ones(2), torch.ones(3)]),
        RuntimeError,
        "stack: stack expects each tensor to be equal size, but got [2] at entry 0 and [3] at entry 1",
    ),
    "reshape": (
        lambda: torch.ones(6).reshape(4, 2),
        RuntimeError,
        "reshape: shape '[4, 2]' is invalid for input of size 6",
    ),
    "reshape 2neg": (
        lambda: torch.ones(6).reshape(-1, -1),
        RuntimeError,
        "reshape: only one dimension can be inferred; got (-1, -1)",
    ),
    "view strided": (
        lambda: torch.ones(2, 3).t().view(6),
        RuntimeError,
        "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
    ),
    "view size": (
        lambda: torch.ones(6).view(5),
        RuntimeError,
        "view: shape '[5]' is invalid for input of size 6",
    ),
    "expand": (
        lambda: torch.ones(3).expand(2, 4),
        RuntimeError,
        "The expanded size of the tensor (4) must match the existing size (3) at non-singleton dimension 1.  Target sizes: [2, 4].  Tensor sizes: [3]",
    ),
    "squeeze dim": (
        lambda: torch.ones(2).squeeze(3),
        IndexError,
        "squeeze: Dimension out of range (expected to be in range of [-1, 0], but got 3)",
    ),
    "transpose": (
        lambda: torch.ones(2, 3).transpose(0, 2),
        IndexError,
        "transpose: Dimension out of range (expected to be in range of [-2, 1], but got 2)",
    ),
    "permute": (
        lambda: torch.ones(2, 3).permute(0, 0),
        RuntimeError,
        "permute(): duplicate dims are not allowed.",
    ),
    "permute len": (
        lambda: torch.ones(2, 3).permute(0, 1, 2),
        RuntimeError,
        "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = 2 is not equal to len(dims) = 3",
    ),
    "unsqueeze": (
        lambda: torch.ones(2).unsqueeze(5),
        IndexError,
        "unsqueeze: Dimension out of range (expected to be in range of [-2, 1], but got 5)",
    ),
    "sum dim": (
        lambda: torch.ones(2).sum(2),
        IndexError,
        "sum: Dimension out of range (expected to be in range of [-1, 0], but got 2)",
    ),
    "sum dup": (
        lambda: torch.ones(2, 2).sum((0, 0)),
        RuntimeError,
        "sum: dim 0 appears multiple times in the list of dims",
    ),
    "softmax dim": (
        lambda: torch.ones(2).softmax(1),
        IndexError,
        "softmax: Dimension out of range (expected to be in range of [-1, 0], but got 1)",
    ),
    "mean int": (
        lambda: torch.tensor([1, 2]).mean(),
        RuntimeError,
        "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: Long",
    ),
    "max empty": (
        lambda: torch.ones(0).max(),
        RuntimeError,
        "max(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.",
    ),
    "argmax empty": (
        lambda: torch.ones(0).argmax(),
        IndexError,
        "argmax(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.",
    ),
    "max dim empty": (
        lambda: torch.ones(2, 0).max(1),
        IndexError,
        "max(): Expected reduction dim 1 to have non-zero size.",
    ),
    "split": (
        lambda: torch.ones(4).split([1, 2]),
        RuntimeError,
        "split_with_sizes expects split_sizes to sum exactly to 4 (input tensor's size at dimension 0), but got split_sizes=[1, 2]",
    ),
    "chunk": (
        lambda: torch.ones(4).chunk(0),
        RuntimeError,
        "chunk expects `chunks` to be greater than 0, got: 0",
    ),
    "narrow": (
        lambda: torch.ones(4).narrow(0, 3, 3),
        RuntimeError,
        "narrow: start (3) + length (3) exceeds dimension size (4).",
    ),
    "select": (
        lambda: torch.ones(3).select(0, 5),
        IndexError,
        "select(): index 5 out of range for tensor of size [3] at dimension 0",
    ),
    "index int": (
        lambda: torch.ones(3)[5],
        IndexError,
        "index 5 is out of bounds for dimension 0 with size 3",
    ),
    "index neg": (
        lambda: torch.ones(3)[-4],
        IndexError,
        "index -4 is out of bounds for dimension 0 with size 3",
    ),
    "index many": (
        lambda: torch.ones(3)[0, 0],
        IndexError,
        "too many indices for tensor of dimension 1",
    ),
    "index float": (
        lambda: torch.ones(3)[1.5],
        IndexError,
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got float)",
    ),
    "index str": (
        lambda: torch.ones(3)["a"],
        TypeError,
        "index: new(): invalid data type 'str'; got 'str' as an index; use numbers, slices, tensors",
    ),
    "index tensor": (
        lambda: torch.ones(3)[torch.tensor([5])],
        IndexError,
        "index: index 5 is out of bounds for dimension 0 with size 3 (index out of range in self); got 5 at position 0; valid values are in the range [-3, 2]",
    ),
    "index ftensor": (
        lambda: torch.ones(3)[torch.tensor([1.0])],
        IndexError,
        "tensors used as indices must be long, int, byte or bool tensors",
    ),
    "index bool": (
        lambda: torch.ones(3)[torch.tensor([True, False])],
        IndexError,
        "The shape of the mask [2] at index 0 does not match the shape of the indexed tensor [3] at index 0",
    ),
    "index step": (
        lambda: torch.ones(3)[::-1],
        ValueError,
        "step must be greater than zero",
    ),
    "index scalar": (
        lambda: torch.tensor(1.0)[0],
        IndexError,
        "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number",
    ),
    "setitem shape": (
        lambda: torch.ones(3).__setitem__(slice(0, 2), torch.ones(5)),
        RuntimeError,
        "expand: The expanded size of the tensor (2) must match the existing size (5) at non-singleton dimension 0. Target sizes: [2]. Tensor sizes: [5]",
    ),
    "gather index": (
        lambda: torch.ones(2, 3).gather(1, torch.tensor([[7]])),
        RuntimeError,
        "gather: index 7 is out of bounds for dimension 1 with size 3 (index out of range in self); got 7 at position 0; valid values are in the range [0, 2]",
    ),
    "gather dtype": (
        lambda: torch.ones(2, 3).gather(1, torch.ones(1, 1)),
        RuntimeError,
        "gather(): Expected dtype int32/int64 for index; got float32",
    ),
    "gather dims": (
        lambda: torch.ones(2, 3).gather(1, torch.tensor([0])),
        RuntimeError,
        "gather: Index tensor must have the same number of dimensions as input tensor; got index=(1,), input=(2, 3)",
    ),
    "embedding index": (
        lambda: F.embedding(torch.tensor([9]), torch.ones(4, 2)),
        IndexError,
        "embedding: index 9 is out of bounds for dimension 0 with size 4 (index out of range in self); got 9 at position 0; valid values are in the range [0, 3]",
    ),
    "embedding dtype": (
        lambda: F.embedding(torch.tensor([1.0]), torch.ones(4, 2)),
        RuntimeError,
        "embedding: Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got torch.float32 instead (while checking arguments for embedding)",
    ),
    "ce target": (
        lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 3])).item(),
        IndexError,
        "cross_entropy: Target 3 is out of bounds for dimension 1 with size 3; got 3 at position 1; valid values are in the range [0, 2]",
    ),
    "ce batch": (
        lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 1, 2])),
        ValueError,
        "cross_entropy: Expected input batch_size (2) to match target batch_size (3).",
    ),
    "ce dtype": (
        lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 1], dtype=torch.int32)),
        RuntimeError,
        "cross_entropy: expected scalar type Long but found Int32; targets are class indices (int64)",
    ),
    "nll shape": (
        lambda: F.nll_loss(torch.ones(2, 3), torch.ones(2)),
        RuntimeError,
        "nll_loss: expected target dtype to be Long or Byte, but got float32",
    ),
    "one hot": (
        lambda: F.one_hot(torch.tensor([3]), 2),
        RuntimeError,
        "Class values must be smaller than num_classes.",
    ),
    "bce shape": (
        lambda: F.binary_cross_entropy(torch.ones(2), torch.ones(3)),
        ValueError,
        "Using a target size (torch.Size([3])) that is different to the input size (torch.Size([2])) is deprecated. Please ensure they have the same size.",
    ),
    "reduction": (
        lambda: F.mse_loss(torch.ones(2), torch.ones(2), reduction="foo"),
        ValueError,
        "foo is not a valid value for reduction",
    ),
    "scatter index": (
        lambda: torch.zeros(3).scatter(0, torch.tensor([4]), 1.0),
        RuntimeError,
        "scatter: index 4 is out of bounds for dimension 0 with size 3 (index out of range in self); got 4 at position 0; valid values are in the range [0, 2]",
    ),
    "matmul dtype": (
        lambda: torch.ones(2, 2) @ torch.ones(2, 2).double(),
        RuntimeError,
        "mm: expected m1 and m2 to have the same dtype, but got: float != double",
    ),
    "matmul int": (
        lambda: torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.int64),
        RuntimeError,
        "mm: expected m1 and m2 to have the same dtype, but got: float != long int",
    ),
    "inplace cast": (
        lambda: torch.tensor([1, 2]).add_(1.5),
        RuntimeError,
        "add_: result type Float can't be cast to the desired output type Long",
    ),
    "inplace shape": (
        lambda: torch.ones(3).add_(torch.ones(2, 3)),
        RuntimeError,
        "add_: output with shape [3] doesn't match the broadcast shape [2, 3]",
    ),
    "bitand float": (
        lambda: torch.ones(2) & torch.ones(2),
        NotImplementedError,
        "bitwise_and: \"bitwise_and_cpu\" not implemented for 'Float'",
    ),
    "neg bool": (
        lambda: -torch.tensor([True]),
        RuntimeError,
        "neg: Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.",
    ),
    "sub bool": (
        lambda: torch.tensor([True]) - torch.tensor([True]),
        RuntimeError,
        "sub: Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.",
    ),
    "not float": (
        lambda: ~torch.ones(2),
        TypeError,
        "bitwise_not: ~ (operator.invert) is only implemented on integer and Boolean-type tensors",
    ),
    "where dtype": (
        lambda: torch.where(torch.ones(2), 1.0, 2.0),
        RuntimeError,
        "where expected condition to be a boolean tensor, but got a tensor with dtype Float32",
    ),
    "masked fill": (
        lambda: torch.ones(2).masked_fill(torch.ones(2), 1.0),
        RuntimeError,
        "masked_fill: masked_fill only supports boolean masks, but got mask with dtype float32",
    ),
    "div mode": (
        lambda: torch.div(torch.ones(2), 2, rounding_mode="up"),
        RuntimeError,
        "div: expected rounding_mode to be one of None, 'trunc', or 'floor' but found 'up'",
    ),
    "pow int": (
        lambda: torch.tensor([2]) ** (-1),
        RuntimeError,
        "pow: Integers to negative integer powers are not allowed.",
    ),
    "arange step": (
        lambda: torch.arange(0, 5, -1),
        RuntimeError,
        "arange: upper bound and lower bound inconsistent with step sign; got start=0, end=5, step=-1",
    ),
    "arange zero": (
        lambda: torch.arange(0, 5, 0),
        RuntimeError,
        "arange: step must be nonzero",
    ),
    "linspace": (
        lambda: torch.linspace(0, 1, -1),
        RuntimeError,
        "linspace: number of steps must be non-negative; got -1",
    ),
    "negative size": (
        lambda: torch.zeros(-1),
        RuntimeError,
        "zeros: Trying to create tensor with negative dimension -1: [-1]",
    ),
    "zeros str": (
        lambda: torch.zeros("a"),
        TypeError,
        "zeros(): argument 'size' (position 1) must be tuple of ints, not str",
    ),
    "full none": (
        lambda: torch.full((2,), None),
        TypeError,
        "_full(): argument 'value' (position 2) must be Number, not NoneType",
    ),
    "eye neg": (
        lambda: torch.eye(-1),
        RuntimeError,
        "eye: n must be greater or equal to 0, got -1",
    ),
    "randint": (
        lambda: torch.randint(5, 5, (2,)),
        RuntimeError,
        "random_ expects 'from' to be less than 'to', but got from=5 >= to=5",
    ),
    "dropout p": (
        lambda: F.dropout(torch.ones(2), 2.0),
        ValueError,
        "dropout probability has to be between 0 and 1, but got 2.0",
    ),
    "clamp none": (
        lambda: torch.ones(2).clamp(),
        RuntimeError,
        "clamp: At least one of 'min' or 'max' must not be None",
    ),
    "normal std": (
        lambda: torch.normal(0.0, -1.0, (2,)),
        RuntimeError,
        "normal: normal expects std >= 0.0, but found std -1.0",
    ),
    "randperm": (
        lambda: torch.randperm(-1),
        RuntimeError,
        "randperm: n must be non-negative; got -1",
    ),
    "multinomial": (
        lambda: torch.multinomial(torch.tensor([-1.0, 1.0]), 1),
        RuntimeError,
        "multinomial: probability tensor contains either `inf`, `nan` or element < 0",
    ),
    "exp str": (
        lambda: torch.exp("a"),
        TypeError,
        "exp(): argument 'input' (position 1) must be Tensor, not str",
    ),
    "exp missing": (
        lambda: torch.exp(),
        TypeError,
        "exp() missing 1 required positional argument: 'input'",
    ),
    "exp extra": (
        lambda: torch.exp(torch.ones(1), 1, 2),
        TypeError,
        "exp() takes 1 positional argument but 3 were given",
    ),
    "add none": (
        lambda: torch.ones(2) + None,
        TypeError,
        "unsupported operand type(s) for +: 'Tensor' and 'NoneType'",
    ),
    "add str": (
        lambda: torch.ones(2) + "a",
        TypeError,
        "unsupported operand type(s) for +: 'Tensor' and 'str'",
    ),
    "sum str": (
        lambda: torch.ones(2).sum("a"),
        TypeError,
        "sum(): argument 'dim' must be int or tuple of ints, not str; got 'a'; dimensions have no names",
    ),
    "no attr": (
        lambda: torch.ones(2).foo,
        AttributeError,
        "'Tensor' object has no attribute 'foo'",
    ),
    "no name": (
        lambda: torch.foo,
        AttributeError,
        "module 'flambeau' has no attribute 'foo'",
    ),
    "cat nontensor": (
        lambda: torch.cat([torch.ones(1), 2]),
        TypeError,
        "expected Tensor as element 1 in argument 0, but got int",
    ),
    "kw unknown": (
        lambda: torch.ones(2).sum(foo=1),
        TypeError,
        "sum() got an unexpected keyword argument 'foo'",
    ),
    "tensor str": (
        lambda: torch.tensor("a"),
        TypeError,
        "new(): invalid data type 'str'",
    ),
    "tensor ragged": (
        lambda: torch.tensor([[1], [1, 2]]),
        ValueError,
        "expected sequence of length 1 at dim 1 (got 2)",
    ),
    "tensor none": (
        lambda: torch.tensor(None),
        RuntimeError,
        "Could not infer dtype of NoneType",
    ),
    "item": (
        lambda: torch.ones(2).item(),
        RuntimeError,
        "item: a Tensor with 2 elements cannot be converted to Scalar; got self=(2,) float32; take one element first, or use tolist()",
    ),
    "bool": (
        lambda: bool(torch.ones(2)),
        RuntimeError,
        "bool: Boolean value of Tensor with more than one value is ambiguous; got self=(2,) float32; use .any() or .all()",
    ),
    "index of": (
        lambda: [1][torch.ones(1)],
        TypeError,
        "index: only integer tensors of a single element can be converted to an index; got self=(1,) float32",
    ),
    "len0": (
        lambda: len(torch.tensor(1)),
        TypeError,
        "len: len() of a 0-d tensor; got self=() int64",
    ),
    "float2": (
        lambda: float(torch.ones(2)),
        ValueError,
        "float: only one element tensors can be converted to Python scalars; got self=(2,) float32",
    ),
    "numpy grad": (
        lambda: torch.ones(2, requires_grad=True).numpy(),
        RuntimeError,
        "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    ),
    "iter0": (
        lambda: iter(torch.tensor(1)),
        TypeError,
        "iteration over a 0-d tensor",
    ),
    "size": (
        lambda: torch.ones(2).size(3),
        IndexError,
        "size: Dimension out of range (expected to be in range of [-1, 0], but got 3)",
    ),
    "cuda": (
        lambda: torch.ones(2, device="cuda"),
        AssertionError,
        "Torch not compiled with CUDA enabled: CUDA is not there yet in flambeau; use device='cpu'",
    ),
    "to cuda": (
        lambda: torch.ones(2).to("cuda"),
        AssertionError,
        "Torch not compiled with CUDA enabled: CUDA is not there yet in flambeau; use device='cpu'",
    ),
    "device name": (
        lambda: torch.device("foo"),
        RuntimeError,
        "Expected one of cpu, cuda, mps, xpu, xla, meta, hpu, mtia device type at start of device string: foo",
    ),
    "to arg": (
        lambda: torch.ones(2).to("float32"),
        RuntimeError,
        "Expected one of cpu, cuda, mps, xpu, xla, meta, hpu, mtia device type at start of device string: float32",
    ),
    "bw twice": (
        backward_twice,
        RuntimeError,
        "Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors after calling backward.",
    ),
    "bw nograd": (
        lambda: torch.ones(2).sum().backward(),
        RuntimeError,
        "element 0 of tensors does not require grad and does not have a grad_fn",
    ),
    "bw nonscalar": (
        lambda: torch.ones(2, requires_grad=True).mul(2).backward(),
        RuntimeError,
        "backward: grad can be implicitly created only for scalar outputs; got output=(2,) float32; call .sum().backward() or .mean().backward(), or pass gradient= of the output's shape",
    ),
    "bw gradshape": (
        lambda: torch.ones(2, requires_grad=True).mul(2).backward(torch.ones(3)),
        RuntimeError,
        "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape of torch.Size([2]).",
    ),
    "inplace saved": (
        overwrite_what_is_saved,
        RuntimeError,
        "one of the variables needed for gradient computation has been modified by an inplace operation: [torch.FloatTensor [3]], which is output 0 of Exp, is at version 1; expected version 0 instead. Hint: enable anomaly detection to find the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False).",
    ),
    "leaf inplace": (
        lambda: torch.ones(2, requires_grad=True).add_(1),
        RuntimeError,
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "leaf view inplace": (
        lambda: torch.ones(2, requires_grad=True)[0:1].add_(1),
        RuntimeError,
        "a view of a leaf Variable that requires grad is being used in an in-place operation.",
    ),
    "rg int": (
        lambda: torch.ones(2, dtype=torch.int64).requires_grad_(),
        RuntimeError,
        "requires_grad_: only Tensors of floating point dtype can require gradients; got self=(2,) int64",
    ),
    "rg int make": (
        lambda: torch.tensor([1], requires_grad=True),
        RuntimeError,
        "requires_grad_: only Tensors of floating point dtype can require gradients; got self=(1,) int64",
    ),
    "rg nonleaf": (
        lambda: setattr(torch.ones(2, requires_grad=True) * 2, "requires_grad", False),
        RuntimeError,
        "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach().",
    ),
    "grad unused": (
        lambda: torch.autograd.grad(
            torch.ones(2, requires_grad=True).sum(), torch.ones(1, requires_grad=True)
        ),
        RuntimeError,
        "The differentiated Tensor at index 0 appears to not have been used in the graph. Set allow_unused=True if this is the desired behavior.",
    ),
    "grad assign": (
        lambda: setattr(torch.ones(2, requires_grad=True), "grad", torch.ones(3)),
        RuntimeError,
        "attempting to assign a gradient of size '[3]' to a tensor of size '[2]'. Please ensure that the gradient and the tensor are the same size",
    ),
    "grad assign type": (
        lambda: setattr(torch.ones(2, requires_grad=True), "grad", 3),
        TypeError,
        "assigned grad expected to be a Tensor or None but got grad of type int",
    ),
    "out grad": (
        lambda: torch.add(torch.ones(2, requires_grad=True), 1, out=torch.ones(2)),
        RuntimeError,
        "add(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.",
    ),
    "out dtype": (
        lambda: torch.add(torch.ones(2), 1.5, out=torch.ones(2, dtype=torch.int64)),
        RuntimeError,
        "add: result type Float can't be cast to the desired output type Long",
    ),
    "unbind inplace": (
        lambda: torch.ones(2, 2, requires_grad=True).mul(1).unbind()[0].add_(1),
        RuntimeError,
        "Output 0 of UnbindBackward0 is a view and is being modified inplace. This view is the output of a function that returns multiple views. Such functions do not allow the output views to be modified inplace. You should replace the inplace operation by an out-of-place one.",
    ),
    "retain": (
        lambda: torch.ones(2).retain_grad(),
        RuntimeError,
        "retain_grad: can't retain_grad on Tensor that has requires_grad=False; got self=(2,) float32",
    ),
    "deepcopy": (
        lambda: copy.deepcopy(torch.ones(2, requires_grad=True) * 1),
        RuntimeError,
        "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001",
    ),
    "hook": (
        lambda: torch.ones(2).register_hook(print),
        RuntimeError,
        "cannot register a hook on a tensor that doesn't require gradient",
    ),
    "from numpy": (
        lambda: torch.from_numpy([1]),
        TypeError,
        "from_numpy: expected np.ndarray (got list)",
    ),
    "from numpy str": (
        lambda: torch.from_numpy(np.array(["a"])),
        TypeError,
        "can't convert np.ndarray of type <U1. The only supported types are: float64, float32, float16, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool.",
    ),
    "from numpy neg": (
        lambda: torch.from_numpy(np.ones(3)[::-1]),
        ValueError,
        "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently supported. (You can probably work around this by making a copy of your array  with array.copy().)",
    ),
    "frombuffer": (
        lambda: torch.frombuffer(b"", dtype=torch.uint8),
        ValueError,
        "both buffer length (0) and count (-1) must not be 0",
    ),
    "resize grad": (
        lambda: torch.ones(2, requires_grad=True).resize_(3),
        RuntimeError,
        "cannot resize variables that require grad",
    ),
    "load keys": (
        lambda: torch.nn.Linear(2, 2).load_state_dict({}),
        RuntimeError,
        "Error(s) in loading state_dict for Linear:",
    ),
    "load shape": (
        lambda: torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(3, 2).state_dict()),
        RuntimeError,
        "Error(s) in loading state_dict for Linear:",
    ),
    "module attr": (
        lambda: torch.nn.Linear(2, 2).foo,
        AttributeError,
        "'Linear' object has no attribute 'foo'",
    ),
    "param assign": (
        lambda: setattr(torch.nn.Linear(2, 2), "weight", torch.ones(2, 2)),
        TypeError,
        "cannot assign 'torch.FloatTensor' as parameter 'weight' (torch.nn.Parameter or None expected)",
    ),
    "module noforward": (
        lambda: torch.nn.Module()(1),
        NotImplementedError,
        'Module [Module] is missing the required "forward" function',
    ),
    "register": (
        lambda: torch.nn.Module().register_buffer("a.b", None),
        KeyError,
        "'buffer name can\\'t contain \".\"'",
    ),
    "sgd lr": (
        lambda: torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=-1),
        ValueError,
        "SGD: Invalid learning rate: -1",
    ),
    "sgd empty": (
        lambda: torch.optim.SGD([], lr=1),
        ValueError,
        "Optimizer: optimizer got an empty parameter list",
    ),
    "sgd nonleaf": (
        lambda: torch.optim.SGD([torch.ones(1, requires_grad=True) * 2], lr=1),
        ValueError,
        "Optimizer: can't optimize a non-leaf Tensor; got param=(1,) float32",
    ),
    "adam betas": (
        lambda: torch.optim.Adam([torch.ones(1, requires_grad=True)], betas=(2, 0)),
        ValueError,
        "Adam: betas must be either both floats or both Tensors; got betas=(2, 0)",
    ),
    "norm shape": (
        lambda: F.layer_norm(torch.ones(2, 3), (4,)),
        RuntimeError,
        "Given normalized_shape=[4], expected input with shape [*, 4], but got input of size[2, 3]",
    ),
    "bn one": (
        lambda: torch.nn.BatchNorm1d(3)(torch.ones(1, 3)),
        ValueError,
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 3])",
    ),
    "bn dims": (
        lambda: torch.nn.BatchNorm2d(3)(torch.ones(2, 3)),
        ValueError,
        "expected 4D input (got 2D input)",
    ),
    "group norm": (
        lambda: F.group_norm(torch.ones(2, 3, 4), 2),
        RuntimeError,
        "group_norm: Expected number of channels in input to be divisible by num_groups, but got input of shape [2, 3, 4] and num_groups=2",
    ),
    "pad": (
        lambda: F.pad(torch.ones(2, 2), (1,)),
        RuntimeError,
        "pad: Length of pad should be an even number no more than twice the number of dimensions of the input; got pad=(1,) for 2 dimensions",
    ),
    "pad reflect": (
        lambda: F.pad(torch.ones(1, 2, 2), (5, 5), mode="reflect"),
        RuntimeError,
        "pad: Padding size should be less than the corresponding input dimension, but got: padding (5, 5) at dimension 2 of input [1, 2, 2]",
    ),
    "sdpa": (
        lambda: F.scaled_dot_product_attention(torch.ones(1, 2, 4), torch.ones(1, 2, 5), torch.ones(1, 2, 5)),
        RuntimeError,
        "matmul: Expected size for first two dimensions of batch2 tensor to be: [1, 4] but got: [1, 5].",
    ),
    "einsum": (
        lambda: torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(4, 5)),
        RuntimeError,
        "einsum(): subscript j has size 4 for operand 1 which does not broadcast with previously seen size 3",
    ),
    "topk": (
        lambda: torch.ones(3).topk(5),
        RuntimeError,
        "topk: selected index k out of range; got k=5 for a dimension of 3 elements",
    ),
    "sort dim": (
        lambda: torch.ones(3).sort(2),
        IndexError,
        "sort: Dimension out of range (expected to be in range of [-1, 0], but got 2)",
    ),
    "kthvalue": (
        lambda: torch.ones(3).kthvalue(9),
        RuntimeError,
        "kthvalue(): selected number k out of range for dimension 0; got k=9",
    ),
    "cumsum": (
        lambda: torch.ones(3).cumsum(1),
        IndexError,
        "cumsum: Dimension out of range (expected to be in range of [-1, 0], but got 1)",
    ),
    "flip": (
        lambda: torch.ones(3).flip(2),
        IndexError,
        "flip: Dimension out of range (expected to be in range of [-1, 0], but got 2)",
    ),
    "roll": (
        lambda: torch.ones(3).roll((1, 2), (0,)),
        RuntimeError,
        "roll: shifts and dimensions must align. shifts: 2, dims:1",
    ),
    "repeat": (
        lambda: torch.ones(2, 2).repeat(2),
        RuntimeError,
        "repeat: Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
    ),
    "tile": (
        lambda: torch.ones(2).repeat_interleave(torch.tensor([1, 2, 3])),
        RuntimeError,
        "repeat_interleave: repeats must have the same size as input along dim, but got repeats.size(0) = 3 and input.size(0) = 2",
    ),
    "diag": (
        lambda: torch.ones(2, 2, 2).diag(),
        RuntimeError,
        "diag(): Supports 1D or 2D tensors. Got 3D",
    ),
    "tril": (
        lambda: torch.ones(2).tril(),
        RuntimeError,
        "tril: input tensor must have at least 2 dimensions",
    ),
    "unfold": (
        lambda: torch.ones(3).unfold(0, 5, 1),
        RuntimeError,
        "unfold: maximum size for tensor at dimension 0 is 3 but size is 5",
    ),
    "interpolate": (
        lambda: F.interpolate(torch.ones(1, 1, 2, 2)),
        ValueError,
        "either size or scale_factor should be defined",
    ),
    "int overflow": (
        lambda: torch.tensor(300, dtype=torch.uint8),
        RuntimeError,
        "value cannot be converted to type uint8_t without overflow",
    ),
    "set threads": (
        lambda: torch.set_num_threads(0),
        RuntimeError,
        "set_num_threads: expects a positive integer; got 0",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str) -> None:
    program, kind, text = CASES[name]
    with pytest.raises(kind) as found:
        program()
    assert str(found.value).split("\n")[0].split(" (recorded at")[0] == text


def test_pytorch_raises_the_same_types(monkeypatch: pytest.MonkeyPatch) -> None:
    pytorch = pytest.importorskip("torch")
    monkeypatch.setattr(__import__("sys").modules[__name__], "torch", pytorch)
    monkeypatch.setattr(__import__("sys").modules[__name__], "F", pytorch.nn.functional)
    wrong = {}
    for name, (program, kind, _) in CASES.items():
        try:
            program()
        except Exception as error:
            if not issubclass(kind, type(error)):
                wrong[name] = type(error).__name__
        else:
            wrong[name] = "no error"
    assert not wrong


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: torch.frac(torch.arange(3)), "Long"),
        (lambda: torch.floor(torch.tensor([True])), "Bool"),
        (lambda: torch.round(torch.tensor([True])), "Bool"),
        (lambda: torch.clamp(torch.tensor([True]), True), "Bool"),
        (lambda: torch.tensor([True]).frac_(), "Bool"),
        (lambda: F.conv2d(torch.ones(1, 1, 2, 2).bool(), torch.ones(1, 1, 1, 1).bool()), "Bool"),
    ],
)
def test_an_operation_that_a_dtype_has_not_is_refused_by_the_call(call: Any, kind: str) -> None:
    with pytest.raises(NotImplementedError, match=f"_cpu\" not implemented for '{kind}'"):
        call()  # not when the result is computed
