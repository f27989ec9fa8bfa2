"""torchvision.models.feature_extraction: needs symbolic tracing, which is not there yet."""

from __future__ import annotations

from typing import Any

from ...errors import fail


def create_feature_extractor(model: Any, *args: Any, **options: Any) -> Any:
    """Refused: symbolic tracing is not there yet."""
    fail(
        NotImplementedError,
        "create_feature_extractor: symbolic tracing is not there yet",
        "use forward hooks",
    )


def get_graph_node_names(model: Any, *args: Any, **options: Any) -> Any:
    """Refused: symbolic tracing is not there yet."""
    fail(NotImplementedError, "get_graph_node_names: symbolic tracing is not there yet")
