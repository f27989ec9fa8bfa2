"""The operations that a model runs for an input, as the graph that TensorBoard draws."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef

from ...autograd import no_grad
from ...errors import fail
from ...overrides import TorchFunctionMode
from ...stream.value import Tensor
from .._pytree import tree_leaves


def tensors(value: Any) -> list[Tensor]:
    """All tensors of nested lists, tuples and dicts."""
    return [t for t in tree_leaves(value) if isinstance(t, Tensor)]


class Recorder(TorchFunctionMode):
    """Notes each operation within the modules that call it."""

    def __init__(self, model: Any):
        super().__init__()
        self.nodes: list[NodeDef] = []
        self.made: dict[
            int, tuple[str, Tensor]
        ] = {}  # by identity; the tensor is held so that no other has it
        self.scopes: list[str] = [type(model).__name__]
        self.counts: dict[str, int] = {}
        self.owners = {
            id(p): ("/".join([self.scope_of(model, path), name]), p)
            for path, module in model.named_modules()
            for name, p in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        }

    @staticmethod
    def scope_of(model: Any, path: str) -> str:
        """A module's place: the class and name of each module on the way to it."""
        scope, module = [type(model).__name__], model
        for name in path.split(".") if path else ():
            module = getattr(module, name)
            scope.append(f"{type(module).__name__}[{name}]")
        return "/".join(scope)

    @contextmanager
    def within(self, model: Any) -> Iterator[None]:
        """Modules say when they begin and end."""
        with ExitStack() as hooks:
            for path, module in model.named_modules():
                scope = self.scope_of(model, path)
                begin = module.register_forward_pre_hook(lambda *_, scope=scope: self.scopes.append(scope))
                end = module.register_forward_hook(lambda *_: self.ended())
                hooks.callback(begin.remove)
                hooks.callback(end.remove)
            yield

    def ended(self) -> None:
        """The innermost module has returned."""
        self.scopes.pop()

    def add(self, name: str, op: str, inputs: list[str], values: list[Tensor]) -> None:
        """One node, which makes values."""
        node = NodeDef(name=name, op=op, input=inputs)
        shapes = [TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in v.shape]) for v in values]
        node.attr["_output_shapes"].CopyFrom(AttrValue(list=AttrValue.ListValue(shape=shapes)))
        self.nodes.append(node)
        for value in values:
            self.made[id(value)] = (name, value)

    def source(self, value: Tensor) -> str:
        """The node that made a tensor: an operation, a parameter or a constant from outside."""
        if id(value) not in self.made:
            if id(value) in self.owners:
                self.add(self.owners[id(value)][0], "Parameter", [], [value])
            else:
                self.add(self.free(f"{self.scopes[-1]}/constant"), "Constant", [], [value])
        return self.made[id(value)][0]

    def free(self, name: str) -> str:
        """A name that no node has."""
        self.counts[name] = count = self.counts.get(name, 0) + 1
        return f"{name}_{count}"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and note it."""
        inputs = [self.source(t) for t in tensors([args, kwargs or {}])]
        result = func(*args, **(kwargs or {}))
        values = tensors(result)
        if values:
            name = getattr(func, "__name__", str(func)).strip("_")
            self.add(self.free(f"{self.scopes[-1]}/{name}"), name, inputs, values)
        return result


def graph(model: Any, inputs: Any, verbose: bool = False) -> GraphDef:
    """The graph of `model(*inputs)` (one tensor or a tuple), in the mode that the model is in."""
    if inputs is None:
        fail(
            ValueError,
            "add_graph: input_to_model is needed; hint: writer.add_graph(model, torch.randn(1, 3, 32, 32))",
        )
    inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    recorder = Recorder(model)
    for t in tensors(list(inputs)):
        recorder.add(recorder.free("input/x"), "IO Node", [], [t])
    with no_grad(), recorder.within(model), recorder:
        result = model(*inputs)
    for t in tensors(result):
        recorder.add(recorder.free("output/out"), "IO Node", [recorder.source(t)], [t])
    found = GraphDef(node=recorder.nodes, versions=VersionDef(producer=22))
    if verbose:
        sys.stdout.write(str(found))
    return found
