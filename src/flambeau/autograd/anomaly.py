"""Anomaly detection: an error or a NaN of a backward pass names the node that made it, and where its forward ran."""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path
from typing import Any

from ..ops.entry import FUNCTIONS
from ..stream.value import LOCAL, Node, Tensor
from . import engine

_PACKAGE = (str(Path(__file__).resolve().parents[1]), "<flambeau op")
KEY = "traceback_"


class _Watch:
    """Sees every call of the thread, as a mode does, and notes where each node was made; runs nodes in backward."""

    def __init__(self, check_nan: bool):
        self.check_nan = check_nan

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for t in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(t, Tensor) and t._gf is not None:
                self.note(t._gf)
        return result

    def note(self, node: Node) -> None:
        """Keep the lines that lead to the user's call."""
        if KEY not in node.metadata:
            frames = traceback.extract_stack()
            while frames and frames[-1].filename.startswith(_PACKAGE):
                frames.pop()
            node.metadata[KEY] = traceback.format_list(frames)

    def run(self, node: Node, grads: tuple[Any, ...]) -> Any:
        """The gradients that a node makes, checked."""
        try:
            made = node.apply(grads)
        except Exception:
            warn(node)
            raise
        if self.check_nan:
            for i, g in enumerate(made if isinstance(made, tuple) else (made,)):
                if g is not None and bool(FUNCTIONS["isnan"](g).any()):
                    warn(node)
                    raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
        return made


def warn(node: Node) -> None:
    """Say where the forward call of a node was."""
    lines = node.metadata.get(KEY)
    if lines is None:
        what = "No forward pass information available. Enable detect anomaly during forward pass for more information."
        warnings.warn(f"Error detected in {node.name()}. {what}", UserWarning, stacklevel=2)
        return
    where = "Traceback of forward call that caused the error:\n" + "".join(lines)
    warnings.warn(f"Error detected in {node.name()}. {where}", UserWarning, stacklevel=2)


def _switch(watch: Any) -> None:
    S = LOCAL.s
    modes = [m for m in S.modes if type(m) is not _Watch]
    if type(watch) is _Watch:
        modes.insert(0, watch)
    S.depth += len(modes) - len(S.modes)
    S.modes, engine.CHECK[0] = modes, watch


class set_detect_anomaly:
    """Switch the check of every node's gradients on or off, at once; as a context, until its end.

    While it is on, every call of this thread notes where it was made, and an error of a backward pass warns of that
    place. check_nan: a NaN that a node returns is a RuntimeError.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = engine.CHECK[0]
        _switch(_Watch(check_nan) if mode else None)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        _switch(self.before)


class detect_anomaly(set_detect_anomaly):
    """As a context: a NaN that a backward function returns raises RuntimeError and warns of the line of its forward.

    >>> import flambeau as torch
    >>> torch.autograd.is_anomaly_enabled()
    False
    """

    def __init__(self, check_nan: bool = True):
        self.check_nan = check_nan

    def __enter__(self) -> None:
        self.before = engine.CHECK[0]
        _switch(_Watch(self.check_nan))


def is_anomaly_enabled() -> bool:
    """Whether backward passes are watched."""
    return isinstance(engine.CHECK[0], _Watch)


def is_anomaly_check_nan_enabled() -> bool:
    """Whether a NaN of a backward pass is an error."""
    return not isinstance(engine.CHECK[0], _Watch) or engine.CHECK[0].check_nan
