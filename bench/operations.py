"""Single operations through the public API, a fresh result at each call, kept until read. `make(torch, best) -> step`.

best: as in models.py; PyTorch compiles what goes forward, flambeau the whole call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workloads import Step, forward_of, step_of

Maker = Callable[[Any, bool], Step]


def of(shapes: list[tuple[int, ...]], call: Callable[..., Any]) -> Maker:
    """call(torch, *normal tensors of the shapes), without gradient."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        tensors = [torch.randn(*shape) for shape in shapes]
        forward = forward_of(torch, best, lambda *given: call(torch, *given))

        def step() -> Any:
            with torch.no_grad():
                return forward(*tensors)

        return step_of(torch, best, step)

    return make


def both_ways(shapes: list[tuple[int, ...]], call: Callable[..., Any]) -> Maker:
    """call and the gradients of all its tensors, for a gradient of ones."""

    def make(torch: Any, best: bool) -> Step:
        torch.manual_seed(0)
        tensors = [torch.randn(*shape).requires_grad_() for shape in shapes]
        with torch.no_grad():
            ones = torch.ones_like(call(torch, *tensors))
        forward = forward_of(torch, best, lambda *given: call(torch, *given))

        def step() -> Any:
            return list(torch.autograd.grad(forward(*tensors), tensors, ones))

        return step_of(torch, best, step)

    return make


def matmul(n: int) -> Maker:
    """Square matrices."""
    return of([(n, n), (n, n)], lambda torch, a, b: a @ b)


def half_matmul(n: int) -> Maker:
    """bfloat16 in and out."""

    def make(torch: Any, best: bool) -> Step:
        a, b = (torch.randn(n, n).to(torch.bfloat16) for _ in range(2))
        forward = forward_of(torch, best, lambda a, b: (a @ b).float())

        def step() -> Any:
            with torch.no_grad():
                return forward(a, b)

        return step_of(torch, best, step)

    return make


def gathered(torch: Any, best: bool) -> Step:
    """64 Ki rows of 64 out of 100,000."""
    table, at = torch.randn(100_000, 64), torch.randint(0, 100_000, (1 << 16,))
    forward = forward_of(torch, best, lambda table, at: table[at])

    def step() -> Any:
        with torch.no_grad():
            return forward(table, at)

    return step_of(torch, best, step)


# image side, given channels, made channels, kernel, stride: ResNet-50's convolutions (He and others 2016)
RESNET50 = [
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1),
    (56, 64, 64, 3, 1),
    (56, 64, 256, 1, 1),
    (56, 256, 128, 1, 1),
    (56, 128, 128, 3, 2),
    (28, 128, 512, 1, 1),
    (28, 512, 128, 1, 1),
    (28, 128, 128, 3, 1),
    (28, 512, 256, 1, 1),
    (28, 256, 256, 3, 2),
    (14, 256, 1024, 1, 1),
    (14, 1024, 256, 1, 1),
    (14, 256, 256, 3, 1),
    (14, 1024, 512, 1, 1),
    (14, 512, 512, 3, 2),
    (7, 512, 2048, 1, 1),
    (7, 2048, 512, 1, 1),
    (7, 512, 512, 3, 1),
]


def convolution(side: int, given: int, made: int, taps: int, stride: int, back: bool) -> Maker:
    """A convolution on 4 images, and its gradients."""
    shapes = [(4, given, side, side), (made, given, taps, taps)]

    def call(torch: Any, x: Any, w: Any) -> Any:
        return torch.nn.functional.conv2d(x, w, None, stride, taps // 2)

    return both_ways(shapes, call) if back else of(shapes, call)


def attention(back: bool, causal: bool) -> Maker:
    """2 x 8 heads x 512 x 64."""

    def call(torch: Any, q: Any, k: Any, v: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return (both_ways if back else of)([(2, 8, 512, 64)] * 3, call)


M = 1 << 20
CALLS = (
    5  # of a round at the least: the second processor of a virtual machine may come late to the first ones
)
ROWS = [(4096, 1024)]
OPERATIONS: dict[str, tuple[Maker, str, int]] = {
    **{
        f"matmul_{n}": (matmul(n), f"matmul {n}", max(CALLS, min(200, (400 // n) ** 2)))
        for n in (32, 64, 100, 128, 256, 512, 1000, 1024, 2048)
    },
    "bmm": (of([(32, 64, 64), (32, 64, 64)], lambda torch, a, b: torch.bmm(a, b)), "bmm 32 x 64", 20),
    "bf16_512": (half_matmul(512), "matmul 512, bfloat16", CALLS),
    "bf16_1024": (half_matmul(1024), "matmul 1024, bfloat16", CALLS),
    "add": (of([(4 * M,)] * 2, lambda torch, a, b: a + b), "a + b, 4 Mi", CALLS),
    "exp": (of([(4 * M,)], lambda torch, a: torch.exp(a)), "exp, 4 Mi", CALLS),
    "log": (of([(4 * M,)], lambda torch, a: torch.log(a)), "log, 4 Mi", CALLS),
    "tanh": (of([(4 * M,)], lambda torch, a: torch.tanh(a)), "tanh, 4 Mi", CALLS),
    "erf": (of([(4 * M,)], lambda torch, a: torch.erf(a)), "erf, 4 Mi", CALLS),
    "gelu_chain": (
        of(
            [(4 * M,), (4 * M,)],
            lambda torch, x, r: torch.nn.functional.gelu(x * 1.1 + 0.1) + r,
        ),
        "gelu(x * w + b) + r, 4 Mi",
        CALLS,
    ),
    "softmax": (of(ROWS, lambda torch, x: torch.softmax(x, -1)), "softmax 4096 x 1024", CALLS),
    "softmax_back": (
        both_ways(ROWS, lambda torch, x: torch.softmax(x, -1)),
        "softmax, there and back",
        CALLS,
    ),
    "layer_norm": (
        of(
            [*ROWS, (1024,), (1024,)], lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (1024,), w, b)
        ),
        "layer norm 4096 x 1024",
        CALLS,
    ),
    "layer_norm_back": (
        both_ways(
            [*ROWS, (1024,), (1024,)],
            lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (1024,), w, b),
        ),
        "layer norm, there and back",
        CALLS,
    ),
    "sum_last": (of(ROWS, lambda torch, x: x.sum(-1)), "sum of rows 4096 x 1024", CALLS),
    "sum_first": (of(ROWS, lambda torch, x: x.sum(0)), "sum of columns 4096 x 1024", CALLS),
    "sum_all": (of(ROWS, lambda torch, x: x.sum()), "sum of all 4096 x 1024", CALLS),
    "sort": (of([(M,)], lambda torch, x: torch.sort(x)[0]), "sort 1 Mi", CALLS),
    "sort_rows": (of(ROWS, lambda torch, x: torch.sort(x)[0]), "sort of rows 4096 x 1024", CALLS),
    "cumsum": (of(ROWS, lambda torch, x: x.cumsum(1)), "cumsum of rows 4096 x 1024", CALLS),
    "cumsum_long": (of([(4 * M,)], lambda torch, x: x.cumsum(0)), "cumsum 4 Mi", CALLS),
    "gather": (gathered, "64 Ki rows of 64", CALLS),
    **{
        f"attention{'_causal' * causal}{'_back' * back}": (
            attention(back, causal),
            f"attention 2x8x512x64{', causal' * causal}{', there and back' * back}",
            CALLS,
        )
        for causal in (False, True)
        for back in (False, True)
    },
    **{
        f"conv_{side}_{given}_{made}_{taps}_{stride}{'_back' * back}": (
            convolution(side, given, made, taps, stride, back),
            f"conv {taps}x{taps}/{stride} {given}-{made} at {side}{', there and back' * back}",
            CALLS,
        )
        for side, given, made, taps, stride in RESNET50
        for back in (False, True)
    },
}
