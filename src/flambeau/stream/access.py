"""Bytes of tensors: what needs them asks here, and recorded work runs first."""

from __future__ import annotations

from typing import Any

from .value import ABSENT, LOCAL, NO_DATA, STREAMS, Storage


def pointer(t: Any) -> int:
    """The address of a tensor's first element; its bytes exist then."""
    st, S = t._st, LOCAL.s
    if S.capture is not None:
        S.capture.end("a value is read")
    if st.pend is S:
        S.flush()
    elif st.pend is not None:
        st.pend.flush_for_other()
    elif st.home:  # a name table that was run is empty
        settle(st)
    if st.info is not None:
        if st.info is ABSENT:
            raise NotImplementedError(NO_DATA)
        if st.info.poison is not None:
            raise st.info.poison.with_traceback(None)
    return st.ptr + t._off * t._meta.dtype.itemsize


def settle(st: Storage) -> None:
    """Run what is recorded on a storage that has its bytes (reads are harmless, but writes must be seen)."""
    S = LOCAL.s
    if st.home is S.slots:
        S.flush()
        return
    for other in STREAMS[:]:
        if other.slots is st.home or other.running is st.home:
            other.flush_for_other()


def synchronize() -> None:
    """Run what this thread has recorded."""
    LOCAL.s.flush()
