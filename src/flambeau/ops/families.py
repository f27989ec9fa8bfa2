"""The families of ops, in the order in which they are loaded."""

from __future__ import annotations

import importlib

FAMILIES = [
    "elementwise",
    "unary",
    "compare",
    "ternary",
    "conversion",
    "reduction",
    "softmax",
    "loss_class",
    "loss",
    "activation",
    "normalisation",
    "norms",
    "special",
    "complex",
    "fourier",
    "elimination",
    "linalg",
    "solutions",
    "einsum",
    "products",
    "moments",
    "quantiles",
    "bessel",
    "polynomials",
    "lu",
    "masked",
    "view",
    "view_backward",
    "index",
    "reshape",
    "split",
    "diagonal",
    "join",
    "rearrange",
    "gather",
    "bags",
    "patches",
    "scatter",
    "index_write",
    "sort",
    "scan",
    "membership",
    "segments",
    "contraction",
    "added",
    "convolution",
    "pooling",
    "sampled",
    "random",
    "dropouts",
    "attention",
    "cells",
    "recurrent",
    "lowrank",
    "eig",
    "sampling",
    "alignment",
    "spectral",
    "operators",
    "lists",
]


def load() -> None:
    """Import every family, in order."""
    for name in FAMILIES:
        importlib.import_module("." + name, __package__)
