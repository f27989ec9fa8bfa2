"""A progress bar: tqdm's where it is installed, else a small one; nothing where the output is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], title: str) -> Iterator[T]:
    """The same items, with a bar on standard error that vanishes at the end."""
    if not sys.stderr.isatty():
        return iter(items)
    try:
        from tqdm import tqdm
    except ImportError:
        return bar(items, title)
    return iter(tqdm(items, desc=title, leave=False, dynamic_ncols=True))


def bar(items: Iterable[T], title: str, width: int = 32) -> Iterator[T]:
    """Our own bar: title, a line that fills, count and rate; drawn at most twenty times a second."""
    total = len(items) if isinstance(items, Sized) else 0
    begun, drawn = time.perf_counter(), 0.0
    for count, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - drawn > 0.05:
            drawn = now
            filled = width * count // total if total else 0
            line = f"\r{title} |{'█' * filled}{' ' * (width - filled)}| {count}/{total or '?'} "
            sys.stderr.write(line + f"{count / max(now - begun, 1e-9):.0f}/s ")
            sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
