"""The device meta: tensors with metadata, history and a storage that never has bytes. Ops on them record nothing.

An instruction goes this way when one of its tensors has an absent storage, or while a constructor with device="meta"
runs (`placed`): its form says what the results are, and they come out absent too. The thread's stream, the kernels and
random generators know nothing of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..dtypes import META
from ..errors import fail
from ..stream.value import ABSENT, LOCAL, NO_DATA, NUMBERS, Stream, absent_tensor


def results(S: Stream, form: Any, operands: tuple[Any, ...]) -> Any:
    """What an instruction gives there: a tensor, a list of them, or () for an in-place form."""
    if S.capture is not None:
        S.capture.end("a tensor on the device meta is used")
    if form.into >= 0 and operands[form.into]._st.info is not ABSENT:
        raise NotImplementedError(NO_DATA)
    if S.place is None and form.name != "copy":
        refuse_others(form.name, operands)
    made = [absent_tensor(tuple(m.shape), m.strides, m.dtype, off, nbytes) for m, off, nbytes in form.outs]
    return made[0] if len(made) == 1 else made or ()


def refuse_others(name: str, operands: tuple[Any, ...]) -> None:
    """RuntimeError for a tensor that has bytes; indices, states of generators and single numbers may have them."""
    for a in operands:
        if type(a) not in NUMBERS and a._st.info is not ABSENT and a._meta.ndim and a._meta.dtype.is_inexact:
            fail(
                RuntimeError,
                f"{name.strip('_')}: Tensor on device cpu is not on the expected device meta!",
                'move it with .to("meta"), or give the others memory: Module.to_empty(device="cpu")',
                tensor=a,
            )


@contextlib.contextmanager
def placed(where: Any) -> Iterator[None]:
    """New tensors of this thread are on the device `where`."""
    S = LOCAL.s
    before = S.eager, S.place
    if where is META:
        S.eager, S.place = True, META  # eager: builtins leave recording to the definitions in Python
    try:
        yield
    finally:
        S.eager, S.place = before


def on(t: Any, where: Any) -> Any:
    """A tensor on another device: absent, with its history; NotImplementedError for bytes that are not there."""
    from .elementwise import clone

    if t._meta.device is META:
        raise NotImplementedError(NO_DATA)
    with placed(where):
        return clone(t)
