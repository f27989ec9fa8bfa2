"""torch.fx.experimental.proxy_tensor: tracing by tensors that note what is done to them; nothing is traced here."""

from __future__ import annotations

from typing import Any

from ...absent import functions

globals().update(functions("fx.experimental.proxy_tensor", "symbolic tracing", "make_fx"))


def get_proxy_mode() -> Any:
    """The tracing under way: none."""
    return None
