"""torchvision.models.feature_extraction: needs symbolic tracing, which is not there yet."""

from __future__ import annotations

from ...absent import functions

globals().update(
    functions(
        "vision.models.feature_extraction",
        "symbolic tracing",
        "create_feature_extractor",
        "get_graph_node_names",
    )
)
