"""torch.fx.subgraph_rewriter: finds what looks like a pattern in a graph, and puts something else in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..nn import Module
from ._symbolic_trace import symbolic_trace
from .graph import Graph
from .graph_module import GraphModule, _copy_attr
from .node import Node, map_aggregate

__all__ = ["Match", "ReplacedPatterns", "replace_pattern", "replace_pattern_with_filters"]


class Match(NamedTuple):
    """Where a pattern was found: the node of its result, and the node for each of the pattern's."""

    anchor: Node
    nodes_map: dict[Node, Node]


class ReplacedPatterns(NamedTuple):
    """As Match, and the nodes that were put there."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


class InternalMatch(NamedTuple):
    """What match filters are given."""

    anchors: list[Node]
    nodes_map: dict[Node, Node]
    placeholder_nodes: list[Node]
    returning_nodes: list[Node]


def _graph_of(pattern: Any) -> Graph:
    if isinstance(pattern, GraphModule):
        return pattern.graph
    return pattern if isinstance(pattern, Graph) else symbolic_trace(pattern).graph


class _Matcher:
    """One attempt to find a pattern's nodes behind a node of the graph."""

    def __init__(self, pattern: Graph, ignore_literals: bool, modules: tuple[dict, dict]):
        self.found: dict[Node, Node] = {}
        self.pattern = pattern
        self.ignore_literals = ignore_literals
        self.modules = modules

    def same(self, p: Any, n: Any) -> bool:
        """Whether an argument of the graph matches one of the pattern."""
        if isinstance(p, Node):
            return self.node(p, n)
        if isinstance(n, Node):
            return False
        if isinstance(p, (list, tuple)):
            return isinstance(n, (list, tuple)) and len(p) == len(n) and all(map(self.same, p, n))
        if isinstance(p, dict):
            return isinstance(n, dict) and p.keys() == n.keys() and all(self.same(p[k], n[k]) for k in p)
        if isinstance(p, slice):
            return isinstance(n, slice) and all(
                map(self.same, (p.start, p.stop, p.step), (n.start, n.stop, n.step))
            )
        return self.ignore_literals or (type(p) is type(n) and p == n)

    def node(self, p: Node, n: Any) -> bool:
        """Whether a node of the graph, with all it reads, matches one of the pattern."""
        if p in self.found:
            return self.found[p] is n if isinstance(n, Node) else self.found[p] == n
        if p.op == "placeholder":
            self.found[p] = n
            return True
        if not isinstance(n, Node) or n.op != p.op or not self.targets(p, n):
            return False
        if any(other is n for other in self.found.values()):
            return False
        self.found[p] = n
        return self.same(p.args, n.args) and self.same(dict(p.kwargs), dict(n.kwargs))

    def targets(self, p: Node, n: Node) -> bool:
        """Whether two nodes call (or read) the same."""
        if p.op == "call_module":
            mine, theirs = self.modules[0].get(p.target), self.modules[1].get(n.target)
            return type(mine) is type(theirs) and mine is not None
        return p.op == "get_attr" or p.target == n.target

    def contained(self, results: list[Node]) -> bool:
        """Whether nothing outside reads what the pattern computes on the way."""
        inner = {n for p, n in self.found.items() if p.op not in ("placeholder", "get_attr")}
        return all(
            user in inner
            for p, n in self.found.items()
            if p.op not in ("placeholder", "get_attr", "output") and p not in results
            for user in n.users
        )


def _matches(graph: Graph, pattern: Graph, ignore_literals: bool, modules: tuple[dict, dict]) -> list[Any]:
    """The places of a pattern, none of which overlap, each as a dictionary of nodes with the pattern's results."""
    results: list[Node] = []
    map_aggregate(pattern.output_node().args, lambda v: results.append(v) if isinstance(v, Node) else None)
    taken: set[Node] = set()
    found = []
    for anchor in graph.nodes:
        if anchor.op in ("placeholder", "output") and results[0].op != "placeholder":
            continue
        m = _Matcher(pattern, ignore_literals, modules)
        if not m.node(results[0], anchor):
            continue
        if not all(_elsewhere(m, p, graph) for p in results[1:]) or not m.contained(results):
            continue
        inner = {n for p, n in m.found.items() if p.op not in ("placeholder", "get_attr")}
        if inner & taken:
            continue
        taken |= inner
        found.append((anchor, m.found, results))
    return found


def _elsewhere(m: _Matcher, p: Node, graph: Graph) -> bool:
    """Whether a further result of the pattern is somewhere in the graph, beside what was found."""
    if p in m.found:
        return True
    for n in graph.nodes:
        before = dict(m.found)
        if m.node(p, n):
            return True
        m.found = before
    return False


def replace_pattern(
    gm: GraphModule, pattern: Callable | GraphModule, replacement: Callable | GraphModule
) -> list[Match]:
    """Puts `replacement` where `gm` has `pattern`, both functions or modules of the same inputs; returns the places."""
    made = replace_pattern_with_filters(gm, pattern, replacement)
    return [Match(anchor=m.anchor, nodes_map=m.nodes_map) for m in made]


def replace_pattern_with_filters(
    gm: GraphModule,
    pattern: Any,
    replacement: Any = None,
    match_filters: list[Callable[[Any, Graph, Graph], bool]] | None = None,
    ignore_literals: bool = False,
    replacement_callback: Callable[[Any, Graph, Graph], Graph] | None = None,
    node_name_match: str = "",
) -> list[ReplacedPatterns]:
    """As replace_pattern, at the places for which every filter(match, graph, pattern graph) is true."""
    graph, wanted = gm.graph, _graph_of(pattern)
    owner = pattern if isinstance(pattern, Module) else wanted.owning_module
    modules = (dict(owner.named_modules()) if owner is not None else {}, dict(gm.named_modules()))
    done: list[ReplacedPatterns] = []
    renewed: dict[Any, Any] = {}  # nodes that an earlier place replaced, and by what
    for anchor, nodes, results in _matches(graph, wanted, ignore_literals, modules):
        inputs = [nodes.get(p) for p in wanted.nodes if p.op == "placeholder"]
        match = InternalMatch([anchor], nodes, inputs, [nodes[p] for p in results])  # type: ignore[arg-type]
        if not all(keep(match, graph, wanted) for keep in match_filters or ()):
            continue
        new = replacement_callback(match, graph, wanted) if replacement_callback else _graph_of(replacement)
        put = _put(
            graph, new, [renewed.get(i, i) if isinstance(i, Node) else i for i in inputs], match, renewed
        )
        done.append(ReplacedPatterns(anchor, nodes, put))
    gm.recompile()
    if isinstance(replacement, Module):
        for node in _graph_of(replacement).nodes:
            if node.op in ("call_module", "get_attr"):
                _copy_attr(replacement, gm, node.target)
    return done


def _put(graph: Graph, new: Graph, inputs: list[Any], match: InternalMatch, renewed: dict) -> list[Node]:
    """Writes the replacement before the last node of a match, and erases what it replaces."""
    targets = [p for p in new.nodes if p.op == "placeholder"]
    if len(targets) != len(inputs):
        raise AssertionError(f"the pattern has {len(inputs)} inputs, the replacement {len(targets)}")
    copies: dict[Node, Any] = dict(zip(targets, inputs))
    kept = dict(copies)
    last = {id(n) for n in match.nodes_map.values() if isinstance(n, Node)}
    place = [n for n in graph.nodes if id(n) in last and n not in inputs]
    users = {u for n in match.returning_nodes for u in n.users}
    with graph.inserting_before(next((n for n in graph.nodes if n in users), graph._root)):
        value = graph.graph_copy(new, copies)
    values: list[Any] = []
    map_aggregate(value, values.append)
    for old, made in zip(match.returning_nodes, values):
        if isinstance(made, Node):
            old.replace_all_uses_with(made)
        renewed[old] = made
    for node in reversed(place):
        if not node.users and node.op != "placeholder":
            graph.erase_node(node)
    return [n for p, n in copies.items() if p not in kept]
