"""torchvision.models.feature_extraction: modules that return what a model computes on its way."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import flambeau as torch

from .. import ops


class NodePathTracer(torch.fx.Tracer):
    """Gives each node a name: the path of the module in which it was recorded, and its own name if that is no leaf."""

    def __init__(self, *args: Any, **options: Any):
        leaves = tuple(options.pop("leaf_modules", _leaves()))
        super().__init__(*args, **options)
        self.leaf_modules = leaves
        self.current = ""
        self.node_to_qualname: dict[torch.fx.Node, str] = {}
        self._repeated: dict[str, int] = {}

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """As Tracer's, and the modules of torchvision.ops."""
        return isinstance(m, self.leaf_modules) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """As Tracer's; what is recorded meanwhile is named after the module."""
        before, self.current = self.current, self.path_of_module(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.current = before

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        """As Tracer's, and names the node."""
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **options)
        self.node_to_qualname[proxy.node] = self._qualified(proxy.node)
        return proxy

    def _qualified(self, node: torch.fx.Node) -> str:
        name = self.current if node.op == "call_module" else f"{self.current}.{node}".lstrip(".")
        if re.fullmatch(r".+_[0-9]+", name):
            name = name.rpartition("_")[0]
        count = self._repeated.get(name, -1) + 1
        self._repeated[name] = count
        return f"{name}_{count}" if count else name


def _leaves() -> list[type]:
    return [v for v in vars(ops).values() if inspect.isclass(v) and issubclass(v, torch.nn.Module)]


def _traced(model: Any, training: bool, tracer_kwargs: Any, concrete_args: Any) -> tuple[Any, NodePathTracer]:
    """The graph of a model in a mode, and who traced it; the model is in its own mode afterwards."""
    modes = {m: m.training for m in model.modules()}
    try:
        model.train(training)
        tracer = NodePathTracer(**(tracer_kwargs or {}))
        return tracer.trace(model, concrete_args=concrete_args), tracer
    finally:
        for m, mode in modes.items():
            m.training = mode


def _warn(first: NodePathTracer, second: NodePathTracer) -> None:
    if list(first.node_to_qualname.values()) != list(second.node_to_qualname.values()):
        warnings.warn(
            "the nodes of the model differ between training and evaluation: give train_return_nodes and "
            "eval_return_nodes, or suppress_diff_warning=True",
            stacklevel=3,
        )


def get_graph_node_names(
    model: torch.nn.Module,
    tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False,
    concrete_args: dict[str, Any] | None = None,
) -> tuple[list[str], list[str]]:
    """The names of what a model computes on its way, in training and in evaluation."""
    (_, train), (_, evaluation) = (
        _traced(model, mode, tracer_kwargs, concrete_args) for mode in (True, False)
    )
    if not suppress_diff_warning:
        _warn(train, evaluation)
    return list(train.node_to_qualname.values()), list(evaluation.node_to_qualname.values())


class DualGraphModule(torch.fx.GraphModule):
    """A module with a graph for training and one for evaluation, which `train` and `eval` exchange."""

    def __init__(self, root: Any, train_graph: Any, eval_graph: Any, class_name: str = "GraphModule"):
        train_graph._tracer_cls = eval_graph._tracer_cls = None
        super().__init__(root, train_graph, class_name)
        for node in eval_graph.nodes:
            if node.op in ("get_attr", "call_module"):
                torch.fx.graph_module._copy_attr(root, self, node.target)
        self.train_graph, self.eval_graph = train_graph, eval_graph
        self.train(root.training)

    def train(self, mode: bool = True) -> DualGraphModule:
        """Takes the graph of the mode, and sets the mode of every module."""
        self.graph = self.train_graph if mode else self.eval_graph
        super().train(mode)
        return self


def _reduced(graph: Any, tracer: NodePathTracer, wanted: dict[str, str]) -> None:
    """Has a graph return a dictionary of the nodes that are wanted, and nothing else be computed."""
    known = list(tracer.node_to_qualname.values())
    for query in wanted:
        if not any(re.match(rf"^{re.escape(query)}(\.|$)", name) for name in known):
            raise ValueError(
                f"node: '{query}' is not present in model. Hint: use `get_graph_node_names` to make sure the "
                "`return_nodes` you specified are present. It may even be that you need to specify "
                "`train_return_nodes` and `eval_return_nodes` separately."
            )
    graph.erase_node(graph.output_node())
    left, found = dict(wanted), {}
    for node in reversed(graph.nodes):
        path = tracer.node_to_qualname.get(node, "").split(".")
        for query in left:
            if ".".join(path[: query.count(".") + 1]) == query:
                found[left.pop(query)] = node
                break
    graph.output(dict(reversed(found.items())))
    graph.eliminate_dead_code()


def create_feature_extractor(
    model: torch.nn.Module,
    return_nodes: list[str] | dict[str, str] | None = None,
    train_return_nodes: list[str] | dict[str, str] | None = None,
    eval_return_nodes: list[str] | dict[str, str] | None = None,
    tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False,
    concrete_args: dict[str, Any] | None = None,
) -> torch.fx.GraphModule:
    """A module that returns a dictionary of the nodes named; a module's path stands for the last node in it."""
    if return_nodes is None and None in (train_return_nodes, eval_return_nodes):
        raise ValueError(
            "Either `return_nodes` or `train_return_nodes` and `eval_return_nodes` together, should be specified"
        )
    if (train_return_nodes is None) != (eval_return_nodes is None):
        raise ValueError(
            "If any of `train_return_nodes` and `eval_return_nodes` are specified, then both should be specified"
        )
    if return_nodes is not None and train_return_nodes is not None:
        raise ValueError(
            "If `train_return_nodes` and `eval_return_nodes` are specified, then both should be specified"
        )
    graphs, tracers = [], []
    for mode, own in ((True, train_return_nodes), (False, eval_return_nodes)):
        chosen: Any = return_nodes if own is None else own
        names = chosen if isinstance(chosen, dict) else {n: n for n in chosen}
        graph, tracer = _traced(model, mode, tracer_kwargs, concrete_args)
        graph.owning_module = model
        _reduced(graph, tracer, {str(k): str(v) for k, v in names.items()})
        graphs.append(graph)
        tracers.append(tracer)
    if not suppress_diff_warning and train_return_nodes is None:
        _warn(*tracers)
    return DualGraphModule(model, *graphs, class_name=type(model).__name__)
