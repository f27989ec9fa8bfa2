"""torch.fx.passes.graph_manipulation."""

from __future__ import annotations

from typing import Any

from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node


def replace_target_nodes_with(
    fx_module: GraphModule, old_op: str, old_target: Any, new_op: str, new_target: Any
) -> None:
    """Has every node with the old op and target have the new ones."""
    new_graph = Graph()
    copies: dict[Node, Node] = {}
    for node in fx_module.graph.nodes:
        made = new_graph.node_copy(node, copies.__getitem__)
        if node.op == old_op and node.target == old_target:
            made.op, made.target = new_op, new_target
        copies[node] = made
    fx_module.graph = new_graph
