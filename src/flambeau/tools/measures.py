"""Measures of the source tree that the tests of the house hold: layers, sizes, docs coverage, hops of a call.

`python -m flambeau.tools.measures` prints the table of folders.
"""

from __future__ import annotations

import ast
import functools
import io
import itertools
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]

# Each row may import from the rows above it and from itself. Anything else at the top is a face of the package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "config", "heap", "late", "dtypes", "shapes", "symbols", "absent"),
    ("loop",),
    ("codegen",),
    ("device",),
    ("stream",),
    ("ops",),
    ("autograd",),
    ("tensor",),
    ("nn", "optim", "data", "io", "vision", "distributed"),
    ("<face>",),
    ("tools",),
    ("__main__",),
)
_RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
FACE = _RANK["<face>"]
# These are written against the public API, as a user's program is: they may import the package itself.
ON_THE_PUBLIC_API = _RANK["nn"]

# Code lines a folder may grow to: the design's figures, but for five that breadth has outgrown (loop 3,500, codegen
# 2,500, stream 8,000, ops 8,000 and what is built from tensors 9,000 in the design).
BUDGET = {
    "alphabet": 1060,
    "loop": 11400,
    "codegen": 4600,
    "device": 3200,
    "stream": 8250,
    "ops": 19090,
    "autograd": 1700,
    "tensor": 3250,
    "built from tensors": 16950,
    "faces": 11650,
    "tools": 2000,
}

MAX_PRIMS = 110
# Methods that say in a base class what they do in every other.
INHERITED = ("forward", "extra_repr", "reset_parameters", "apply", "release", "step", "get_lr")


class Import(NamedTuple):
    """One import of a module of the package: who, whom, where, and whether it stands inside a function."""

    source: str
    target: str
    line: int
    inside: bool


class Function(NamedTuple):
    """One function or method: its file's module, qualified name, first line and code lines."""

    module: str
    name: str
    line: int
    size: int


def files(top: Path = PACKAGE) -> Iterator[Path]:
    """Every Python file under `top`, in order."""
    return (path for path in sorted(top.rglob("*.py")) if "__pycache__" not in path.parts)


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rank(module: str) -> int:
    """The layer of a module of the package, as a row of LAYERS."""
    parts = module.split(".")
    return _RANK.get(parts[1], FACE) if len(parts) > 1 else FACE


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file; SyntaxError names the file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def code_line_numbers(path: Path) -> set[int]:
    """The lines that hold code: blanks, comments and docstrings do not count."""
    idle = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
        tokenize.ENCODING,
    )
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type not in idle:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parse(path)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def code_lines(path: Path) -> int:
    """How many lines of a file hold code."""
    return len(code_line_numbers(path))


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file with its code lines, decorators and nested functions included."""
    lines = code_line_numbers(path)

    def walk(node: ast.AST, prefix: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = sum(n in lines for n in range(child.lineno, (child.end_lineno or child.lineno) + 1))
                yield Function(module_name(path), prefix + child.name, child.lineno, size)
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(child, prefix)

    return walk(parse(path), "")


def imports(path: Path) -> list[Import]:
    """Every import of a module of the package that runs (those for type checkers alone do not)."""
    name, modules = module_name(path), known_modules()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[Import] = []

    def note(target: str, node: ast.stmt, inside: bool) -> None:
        while target not in modules and "." in target:
            target = target.rpartition(".")[0]
        if target.split(".")[0] == PACKAGE.name:
            found.append(Import(name, target, node.lineno, inside))

    def walk(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                for alias in child.names:
                    note(alias.name, child, inside)
            elif isinstance(child, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                origin = ".".join([*base, *([child.module] if child.module else [])])
                for alias in child.names:
                    note(f"{origin}.{alias.name}", child, inside)
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            walk(child, inside or is_function)

    walk(parse(path), False)
    return found


@functools.cache
def known_modules() -> set[str]:
    """The dotted names of all modules of the package."""
    return {module_name(path) for path in files()}


def against_the_layers() -> list[Import]:
    """The imports that go up: towards a layer that stands later in LAYERS."""
    up = []
    for path in files():
        for item in imports(path):
            own, other = rank(item.source), rank(item.target)
            if item.target == PACKAGE.name and own >= ON_THE_PUBLIC_API:
                continue
            if other > own:
                up.append(item)
    return up


def cycles() -> list[list[str]]:
    """The groups of modules that import each other at module level (strongly connected, more than one)."""
    graph = {
        module_name(path): {i.target for i in imports(path) if not i.inside and i.target != PACKAGE.name}
        for path in files()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other == node:
                continue
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return groups


def undocumented(path: Path) -> list[str]:
    """The public functions, classes and methods of a file that have no docstring.

    Properties' setters, overloads, functions inside functions and the methods of INHERITED need none.
    """
    missing: list[str] = []

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            if child.name.startswith("_") or (child.name in INHERITED and isinstance(node, ast.ClassDef)):
                continue
            marks = [ast.unparse(mark) for mark in child.decorator_list]
            exempt = any(mark.endswith((".setter", ".deleter", "overload")) for mark in marks)
            if not exempt and ast.get_docstring(child) is None:
                missing.append(f"{prefix}{child.name}")
            if isinstance(child, ast.ClassDef):
                walk(child, f"{prefix}{child.name}.")

    walk(parse(path), module_name(path) + ".")
    return missing


def hops(call: Callable[[], Any]) -> tuple[int, int, int]:
    """(files, calls, hops) of the package's Python code in one call; a hop is a change of file between calls."""
    trail: list[str] = []
    prefix = str(PACKAGE)

    def watch(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            trail.append(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return len(set(trail)), len(trail), sum(a != b for a, b in itertools.pairwise(trail))


def prims() -> set[str]:
    """The prims that ops are composed from, as `map:add`, `reduce:max`, `opaque:contract`, ...

    All scalar operations and reductions of the loop IR count, and every name that the source gives to `opaque`.
    """
    from ..loop import ir, spec

    found = {"index", "const", "take", "store", "reduce:argmax", "reduce:argmin"}
    found |= {f"map:{name}" for name in spec.OPS} | {f"reduce:{name}" for name in ir.REDUCTIONS}
    for path in files():
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if callee == "opaque" and isinstance(first, ast.Constant):
                found.add(f"opaque:{first.value}")
    return found


def group_of(module: str) -> str:
    """The row of BUDGET that a module's lines count in ("faces" if none)."""
    top = module.split(".")[1] if "." in module else ""
    if top in LAYERS[0]:
        return "alphabet"
    if top in LAYERS[ON_THE_PUBLIC_API]:
        return "built from tensors"
    return top if top in BUDGET else "faces"


def sizes() -> dict[str, int]:
    """Code lines of each row of BUDGET, and of the faces."""
    total = dict.fromkeys((*BUDGET, "faces"), 0)
    for path in files():
        total[group_of(module_name(path))] += code_lines(path)
    return total


def report() -> str:
    """The table of sizes, the largest files and functions, and how many public names lack a docstring."""
    lines = [f"{'folder':22}{'code lines':>12}{'budget':>10}"]
    lines += [f"{name:22}{size:12,}{BUDGET.get(name, 0) or '':>10}" for name, size in sizes().items()]
    largest = sorted(((code_lines(p), module_name(p)) for p in files()), reverse=True)
    lines += ["", "largest files"] + [f"  {size:5} {name}" for size, name in largest[:8]]
    longest = sorted((f for p in files() for f in functions(p)), key=lambda f: -f.size)
    lines += ["", "longest functions"] + [f"  {f.size:5} {f.module}.{f.name}" for f in longest[:8]]
    bare = sum(len(undocumented(p)) for p in files())
    lines += ["", f"prims: {len(prims())} (at most {MAX_PRIMS})", f"public names without a docstring: {bare}"]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
