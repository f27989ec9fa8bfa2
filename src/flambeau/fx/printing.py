"""The Python code of a graph."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .node import Node, _get_qualified_name, _type_repr

reflectable_magic_methods = {
    **{"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "floordiv": "{} // {}", "truediv": "{} / {}"},
    **{"mod": "{} % {}", "pow": "{} ** {}", "lshift": "{} << {}", "rshift": "{} >> {}", "and_": "{} & {}"},
    **{"or_": "{} | {}", "xor": "{} ^ {}", "matmul": "{} @ {}"},
}
magic_methods = {
    **{
        "eq": "{} == {}",
        "ne": "{} != {}",
        "lt": "{} < {}",
        "gt": "{} > {}",
        "le": "{} <= {}",
        "ge": "{} >= {}",
    },
    **{"pos": "+{}", "neg": "-{}", "invert": "~{}", "getitem": "{}[{}]"},
    **reflectable_magic_methods,
}
inplace_methods = {
    f"i{name.strip('_')}": form.replace(" {}", "= {}") for name, form in reflectable_magic_methods.items()
}


class PythonCode(NamedTuple):
    """Source of a function, and what its global names mean."""

    src: str
    globals: dict[str, Any]


class CodeGen:
    """Writes a graph as a function `forward`; subclasses may change its head, inputs and result."""

    def __init__(self) -> None:
        self._body_transformer: Callable[[list[str]], list[str]] | None = None
        self._func_name = "forward"

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str) -> str:
        """The line that defines the function."""
        if not free_vars or free_vars[0] != "self":
            free_vars.insert(0, "self")
        return f"def {self._func_name}({', '.join(free_vars)}){maybe_return_annotation}:"

    def generate_output(self, output_args: Any, *, repr_fn: Callable[[Any], str] = repr) -> str:
        """The line that returns the result."""
        return f"return {repr_fn(output_args)}"

    def process_inputs(self, *args: Any) -> Any:
        """The placeholders' values from what the function is called with."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """What the function returns from the output's value."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """More global names for the code."""
        return []

    def _gen_python_code(
        self, nodes: Iterable[Node], root_module: str, namespace: Any, verbose: bool = False
    ) -> PythonCode:
        return _Writer(self, list(nodes), root_module, namespace, verbose).written()


class _Writer:
    """One pass over the nodes: a line for each, names of globals, and where each value is let go."""

    def __init__(self, codegen: CodeGen, nodes: list[Node], root: str, namespace: Any, verbose: bool):
        from .graph import custom_builtins

        self.codegen, self.nodes, self.root, self.namespace, self.verbose = (
            codegen,
            nodes,
            root,
            namespace,
            verbose,
        )
        self.free: list[str] = []
        self.body: list[str] = []
        self.globals: dict[str, Any] = custom_builtins()
        self.wrapped: dict[str, None] = {}
        self.returns = ""
        for name, value in codegen.additional_globals():
            self.global_name(name, value)
        last: dict[Node, Node] = {}
        self.dropped: dict[Node, list[Node]] = {}
        for user in reversed(nodes):
            for used in user._input_nodes:
                if used not in last:
                    last[used] = user
                    self.dropped.setdefault(user, []).append(used)

    def written(self) -> PythonCode:
        """The code."""
        told = None
        for node in self.nodes:
            if self.verbose and node.op not in ("placeholder", "output"):
                told = self.tell(node, told)
            self.line(node)
            if node.op == "output":
                self.body.append("\n")
            elif node.op != "placeholder":
                gone = self.dropped.get(node, []) + ([] if node.users else [node])
                self.body.append(f";  {' = '.join([*map(repr, gone), 'None'])}\n" if gone else "\n")
        body = self.body or ["pass\n"]
        if self.codegen._body_transformer is not None:
            body = self.codegen._body_transformer(body)
        wraps = "\n".join(f'torch.fx._symbolic_trace.wrap("{name}")' for name in self.wrapped)
        head = self.codegen.gen_fn_def(self.free, self.returns)
        text = "\n".join("    " + line for line in "".join(body).lstrip("\n").split("\n"))
        return PythonCode(f"\n{wraps}\n\n{head}\n{text}", self.globals)

    def tell(self, node: Node, told: str | None) -> str:
        """Where the nodes that follow come from, as a comment."""
        lines = [line.strip() for line in (node.stack_trace or "").strip().splitlines()]
        text = "No stacktrace found for following nodes"
        if len(lines) > 1 and lines[-2].startswith("File "):
            where = lines[-2].replace('"', "").replace(", line ", ":")
            text = where.replace("File ", "File: ", 1) + f", code: {lines[-1]}"
        if text != told:
            self.body.append(f"# {text}\n")
        return text

    def global_name(self, hint: str, obj: Any) -> str:
        """The name by which the code finds an object."""
        if hint.startswith("torch.") or hint == "torch":
            return hint
        name = self.namespace.create_name(hint.replace(".", "_"), obj)
        self.globals[name] = obj
        return name

    def type_name(self, kind: Any) -> str:
        """A type as the code writes it."""
        if kind is type(None):
            return "NoneType"
        args = getattr(kind, "__args__", None)
        if args and not isinstance(kind, type):
            origin = getattr(kind, "__origin__", typing.Union)
            base = repr(kind).partition("[")[0]
            if origin is typing.Union:
                base = "typing.Union"
            named = getattr(typing, base.removeprefix("typing."), origin)
            return f"{self.global_name(base, named)}[{','.join(map(self.type_name, args))}]"
        name = _type_repr(kind)
        return (
            name if isinstance(kind, type) and kind.__module__ == "builtins" else self.global_name(name, kind)
        )

    def text(self, arg: Any) -> str:
        """An argument as the code writes it."""
        if isinstance(arg, Node):
            return repr(arg)
        if isinstance(arg, tuple) and hasattr(arg, "_fields"):
            kind = type(arg)
            return f"{self.global_name(f'{kind.__module__}.{kind.__name__}', kind)}{self.text(tuple(arg))}"
        if isinstance(arg, tuple) and type(arg).__name__ != "Size":
            inner = ", ".join(map(self.text, arg))
            return f"({inner},)" if len(arg) == 1 else f"({inner})"
        if isinstance(arg, list):
            return f"[{', '.join(map(self.text, arg))}]"
        if isinstance(arg, dict):
            return "{" + ", ".join(f"{k!r}: {self.text(v)}" for k, v in arg.items()) + "}"
        if isinstance(arg, slice):
            return f"slice({self.text(arg.start)}, {self.text(arg.stop)}, {self.text(arg.step)})"
        if isinstance(arg, enum.Enum):
            kind = type(arg)
            return f"{self.global_name(f'{kind.__module__}.{kind.__name__}', kind)}.{arg.name}"
        if isinstance(arg, type):
            return self.type_name(arg)
        if inspect.isroutine(arg):
            return self.global_name(_get_qualified_name(arg), arg)
        return repr(arg)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The arguments of a call."""
        return ", ".join([*map(self.text, args), *[f"{k} = {self.text(v)}" for k, v in kwargs.items()]])

    def line(self, node: Node) -> None:
        """The statement of a node."""
        kind = f" : {self.type_name(node.type)}" if node.type is not None else ""
        if node.op == "placeholder":
            default = f" = {self.text(node.args[0])}" if node.args else ""
            self.free.append(f"{node.target}{kind}{default}")
            raw = node.target.replace("*", "")
            if raw != repr(node):
                self.body.append(f"{node!r} = {raw}\n")
            return
        if node.op == "output":
            if node.type is not None:
                self.returns = f" -> {self.type_name(node.type)}"
            self.body.append(self.codegen.generate_output(node.args[0], repr_fn=self.text))
            return
        self.body.append(f"{self.before(node)}{node!r}{kind} = {self.value(node)}")

    def before(self, node: Node) -> str:
        """The statement of an operator in place, which comes before its result gets a name."""
        target = node.target
        if getattr(target, "__module__", "") != "_operator" or target.__name__ not in inplace_methods:
            return ""
        return inplace_methods[target.__name__].format(*map(self.text, node.args)) + ";  "

    def value(self, node: Node) -> str:
        """The expression of a node."""
        target, args = node.target, node.args
        if node.op == "get_attr":
            return _path(self.root, target)
        if node.op == "call_module":
            return f"{_path(self.root, target)}({self.arguments(args, node.kwargs)})"
        if node.op == "call_method":
            return f"{_path(self.text(args[0]), target)}({self.arguments(args[1:], node.kwargs)})"
        if getattr(target, "__module__", "") == "_operator":
            if target.__name__ in magic_methods:
                return magic_methods[target.__name__].format(*map(self.text, args))
            if target.__name__ in inplace_methods:
                return self.text(args[0])
        if target is getattr and len(args) == 2 and isinstance(args[1], str) and args[1].isidentifier():
            return _path(self.text(args[0]), args[1])
        name = self.global_name(_get_qualified_name(target), target)
        if node.meta.get("is_wrapped", False):
            self.wrapped.setdefault(name)
        return f"{name}({self.arguments(args, node.kwargs)})"


def _path(base: str, target: str) -> str:
    for name in target.split("."):
        base = f"{base}.{name}" if name.isidentifier() else f'getattr({base}, "{name}")'
    return base
