"""A process that forks: what was recorded, and the locks of streams, on both sides."""

from __future__ import annotations

import os
import threading

from .value import ENTERING, STREAMS


def before_fork() -> None:
    """No thread but the one that forks lives on in the child: what others recorded runs now, under locks."""
    for S in STREAMS[:]:
        S.lock.acquire()
        try:
            S.flush()
        except Exception:
            pass  # what failed says so where it is used


def after_fork() -> None:
    """In the parent: streams are usable again."""
    for S in STREAMS:
        try:
            S.lock.release()
        except RuntimeError:
            pass  # its thread began in between


def after_fork_in_child() -> None:
    """In the child: fresh locks; nothing runs in other threads."""
    if ENTERING.locked():
        ENTERING.release()
    for S in STREAMS:
        S.lock, S.running, S.busy = threading.RLock(), None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)
