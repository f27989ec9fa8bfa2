"""bfloat16 and float16, each written once over a module that speaks PyTorch's API. `make(torch, best) -> step`.

What a language model does with a prompt of so many tokens, attention, what is between products, the convolutions and
whole models; the results of single operations are kept in their own precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import models
from operations import CALLS, RESNET50, ROWS, Maker
from workloads import Step, forward_of, step_of

LINEAR = [(768, 768), (768, 3072), (4096, 4096), (4096, 11008)]  # given, made: GPT-2's and LLaMA 7B's
TOKENS = (1, 4, 8, 16, 32, 64, 128, 512)
SHORT = {"bf16": "bfloat16", "f16": "float16"}


def of(dtype: str, shapes: list[tuple[int, ...]], call: Callable[..., Any], back: bool = False) -> Maker:
    """call(torch, *normal tensors of the shapes) and, if asked, the gradients of all for a gradient of ones."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        tensors = [torch.randn(*shape).to(getattr(torch, SHORT[dtype])) for shape in shapes]
        forward = forward_of(torch, best, lambda *given: call(torch, *given))
        if back:
            tensors = [t.requires_grad_() for t in tensors]
            with torch.no_grad():
                ones = torch.ones_like(call(torch, *tensors))

        def step() -> Any:
            if back:
                return list(torch.autograd.grad(forward(*tensors), tensors, ones))
            with torch.no_grad():
                return forward(*tensors)

        return step_of(torch, best, step)

    return make


def convolution(stride: int, taps: int) -> Callable[..., Any]:
    """Without bias."""
    return lambda torch, x, w: torch.nn.functional.conv2d(x, w, None, stride, taps // 2)


def attend(causal: bool) -> Callable[..., Any]:
    """Attention of given queries, keys and values."""
    return lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def block_step(torch: Any, best: bool) -> Step:
    """A training step of the larger GPT of models.py, its products in bfloat16."""
    return models.gpt(512, 256, 4)(Lower(torch), best)


class Lower:
    """A module that speaks PyTorch's API, whose modules are called under autocast."""

    def __init__(self, torch: Any):
        self.torch, self.nn, self.__name__ = torch, Nn(torch), torch.__name__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)


class Nn:
    """Its `nn`."""

    def __init__(self, torch: Any):
        self.nn = torch.nn

        class Module(torch.nn.Module):  # type: ignore[misc, name-defined]
            """Casts what its outermost call computes."""

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    return super().__call__(*args, **kwargs)

        self.Module = Module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.nn, name)


def resnet(batch: int) -> Maker:
    """Inference of ResNet-18 for images of 32x32, all in bfloat16."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        model = models.residual_net(torch).to(torch.bfloat16)
        return models.inference(torch, best, model, torch.randn(batch, 3, 32, 32).to(torch.bfloat16))

    return make


def functional(name: str, *args: Any) -> Callable[..., Any]:
    """A function of torch.nn.functional."""
    return lambda torch, x, *more: getattr(torch.nn.functional, name)(x, *args, *more)


HALVES: dict[str, tuple[Maker, str, int]] = {
    **{
        f"{dtype}_linear_{given}_{made}_{rows}": (
            of(dtype, [(rows, given), (made, given)], functional("linear")),
            f"{SHORT[dtype]}: {rows} rows, linear {given} to {made}",
            CALLS if rows * given * made > 1 << 25 else 20,
        )
        for dtype in SHORT
        for given, made in LINEAR
        for rows in TOKENS
    },
    **{
        f"{dtype}_bmm_{name}": (of(dtype, shapes, call), f"{SHORT[dtype]}: {title}", CALLS)
        for dtype in SHORT
        for name, title, shapes, call in (
            (
                "scores",
                "bmm 16x512x64, keys transposed",
                [(16, 512, 64)] * 2,
                lambda torch, q, k: torch.bmm(q, k.transpose(1, 2)),
            ),
            (
                "values",
                "bmm 16x512x512x64",
                [(16, 512, 512), (16, 512, 64)],
                lambda torch, a, v: torch.bmm(a, v),
            ),
        )
    },
    **{
        f"{dtype}_attention{'_causal' * causal}{'_back' * back}": (
            of(dtype, [(2, 8, 512, 64)] * 3, attend(causal), back),
            f"{SHORT[dtype]}: attention 2x8x512x64{', causal' * causal}{', there and back' * back}",
            CALLS,
        )
        for dtype in SHORT
        for causal in (False, True)
        for back in (False, True)
    },
    **{
        f"{dtype}_{name}{'_back' * back}": (
            of(dtype, shapes, call, back),
            f"{SHORT[dtype]}: {name} 4096 x 1024{', there and back' * back}",
            CALLS,
        )
        for dtype in SHORT
        for back in (False, True)
        for name, shapes, call in (
            ("layer_norm", [*ROWS, (1024,), (1024,)], functional("layer_norm", (1024,))),
            ("softmax", ROWS, functional("softmax", -1)),
            ("gelu", ROWS, functional("gelu")),
            ("sigmoid", ROWS, functional("sigmoid")),
        )
    },
    **{
        f"bf16_conv_{side}_{given}_{made}_{taps}_{stride}{'_back' * back}": (
            of("bf16", [(4, given, side, side), (made, given, taps, taps)], convolution(stride, taps), back),
            f"bfloat16: conv {taps}x{taps}/{stride} {given}-{made} at {side}{', there and back' * back}",
            CALLS,
        )
        for side, given, made, taps, stride in RESNET50
        for back in (False, True)
    },
    "gpt": (block_step, "GPT, 4 layers, d 512, block 256, batch 4, AdamW, autocast to bfloat16", 1),
    "resnet_infer": (resnet(1), "ResNet-18 on 32x32 in bfloat16, one image", 2),
    "resnet_infer_16": (resnet(16), "ResNet-18 on 32x32 in bfloat16, 16 images", 1),
}
