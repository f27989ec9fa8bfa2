"""The way of kernels from loop IR to machine code: the passes, in order, as data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import config
from ..loop import ir
from . import llvm, objects
from .target import Target


class Unit:
    """What is compiled at once: kernels, their symbols and target, and what the passes have made of them so far."""

    def __init__(self, kernels: Sequence[ir.Kernel], symbols: Sequence[str], target: Target, machine: Any):
        self.kernels, self.symbols = list(kernels), list(symbols)
        self.target, self.machine = target, machine
        self.text = ""  # LLVM IR
        self.kernel = True  # whether that was made of kernels
        self.module: Any = None  # LLVM's module
        self.object = b""  # machine code


def verify(unit: Unit) -> None:
    """The rules of the loop IR hold: nothing that passes can end the process in LLVM."""
    from ..loop.spec import verify as check

    for kernel in unit.kernels:
        check(kernel)


def verify_again(unit: Unit) -> None:
    """The same after a transformation, if flag `verify` is set."""
    if config.verify:
        verify(unit)


def expand_math(unit: Unit) -> None:
    """exp, sin, pow, ... become arithmetic."""
    from .math import expand

    unit.kernels = [expand(kernel) for kernel in unit.kernels]


def emit_llvm(unit: Unit) -> None:
    """Loop IR to the text of LLVM IR."""
    unit.text = llvm.module(unit.kernels, unit.symbols, unit.target)


def optimise(unit: Unit) -> None:
    """LLVM's passes: registers to values, simpler control flow."""
    unit.module = objects.optimise(unit.text, unit.machine, unit.kernel)


def make_object(unit: Unit) -> None:
    """Instruction selection and register allocation."""
    unit.object = objects.emitted(unit.module, unit.machine, unit.kernel)


class Pass(NamedTuple):
    """A pass: `level` is the flag `debug` from which on its result is printed (0: never), `show` its text."""

    name: str
    run: Callable[[Unit], None]
    level: int = 0
    show: Callable[[Unit], str] | None = None


def _loops(unit: Unit) -> str:
    from ..loop.text import show

    return "\n".join(show(kernel) for kernel in unit.kernels)


def _assembly(unit: Unit) -> str:
    text: str = objects.emitted(unit.module, unit.machine, unit.kernel, "assembly")
    return text


PASSES = (
    Pass("verify", verify, 3, _loops),
    Pass("math", expand_math, 4, _loops),
    Pass("verify", verify_again),
    Pass("llvm", emit_llvm, 5, lambda unit: unit.text),
    Pass("optimise", optimise, 6, lambda unit: str(unit.module)),
    Pass("object", make_object, 7, _assembly),
)


def run(unit: Unit, passes: Sequence[Pass] = PASSES) -> Unit:
    """Apply the passes to a unit."""
    for step in passes:
        step.run(unit)
        if step.show is not None and 0 < step.level <= config.debug:
            sys.stderr.write(f"--- {step.name}: {', '.join(unit.symbols)}\n{step.show(unit)}\n")
    return unit


def text_passes() -> list[Pass]:
    """The passes for a unit that starts as the text of LLVM IR."""
    return [step for step in PASSES if step.name in ("optimise", "object")]
