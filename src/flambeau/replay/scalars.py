"""Which float arguments of a captured function only feed arithmetic: they are arguments of its replay, not guards.

The function's text says so. An argument may be combined with numbers and other such arguments (`1 - lr`: a scalar
expression, which a replay computes anew), with what else there is by arithmetic, and be given to functions of
this package and methods of tensors; what that makes may be a number, and is followed through local names likewise.
Any other use (a comparison, a call of the user's, an index, a closure) makes the argument a guard, as each value is."""

from __future__ import annotations

import ast
import dis
import inspect
import math
import textwrap
from types import FunctionType, MethodType
from typing import Any

from ..nn import functional
from ..stream.value import Tensor

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)


class Unsafe(Exception):
    """An argument has a use that is not arithmetic."""


def special(v: float) -> bool:
    """Whether an op may treat this number otherwise than its neighbours: whole numbers, halves, what is not finite."""
    return not math.isfinite(v) or v * 2 == int(v * 2)


def fits(v: Any, sample: float) -> bool:
    """Whether a replay recorded with `sample` may be used for v: no special one, on the same side of -1, 0 and 1."""
    return (
        type(v) is float and not special(v) and (v > 0) is (sample > 0) and (abs(v) > 1) is (abs(sample) > 1)
    )


def scalars(fn: Any, given: dict[str, tuple[str, float]], tensors: set[str]) -> dict[str, Any]:
    """The scalar expressions of a call's float arguments, text -> code. given: parameter -> (the text that finds the
    argument, its value); tensors: parameters that are tensors. Of arguments with another use there is none."""
    f = fn.__func__ if type(fn) is MethodType else fn
    if type(f) is not FunctionType or all(special(v) for _, v in given.values()):
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return {}
    if not isinstance(tree, ast.FunctionDef) or tree.name != f.__name__:
        return {}
    found: dict[str, Any] = {}
    for name, (_, v) in given.items():
        if special(v):
            continue
        try:
            texts = Uses(f, tree, name, set(given), tensors).texts
        except Unsafe:
            continue
        if any(names_in(text) != {name} for text in texts):
            continue
        for text in texts:
            where = Renamed({name: given[name][0]}).visit(ast.parse(text, mode="eval"))
            plain = ast.unparse(ast.fix_missing_locations(where))
            found[plain] = compile(plain, "<flambeau scalar>", "eval")
    return found


def names_in(text: str) -> set[str]:
    """The variables of an expression."""
    return {n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)}


class Renamed(ast.NodeTransformer):
    """Parameters as the texts that find the arguments."""

    def __init__(self, texts: dict[str, str]):
        self.texts = texts

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """The text of one."""
        return ast.parse(self.texts[node.id], mode="eval").body


class Uses:
    """All uses of one parameter: `texts` are its scalar expressions. Unsafe if there is another use than arithmetic."""

    def __init__(
        self, f: FunctionType, tree: ast.FunctionDef, name: str, floats: set[str], tensors: set[str]
    ):
        self.f, self.tree, self.floats, self.tensors = f, tree, floats, tensors
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.texts: set[str] = set()
        self.followed: set[str] = {name}
        loads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name]
        read = sum(
            1 for i in dis.get_instructions(f) if i.argval == name and i.opname.startswith("LOAD_FAST")
        )
        read += sum(
            i.argval.count(name)
            for i in dis.get_instructions(f)
            if type(i.argval) is tuple and i.opname.startswith("LOAD_FAST")
        )
        if read != len(loads):  # another text than that of the code
            raise Unsafe
        for n in loads:
            if not isinstance(n.ctx, ast.Load):
                raise Unsafe
            top = self.scalar(n)
            self.texts.add(ast.unparse(top))
            self.used(top)

    def scalar(self, node: ast.AST) -> ast.AST:
        """The largest expression around a node that is made of it and numbers."""
        while True:
            parent = self.parents[node]
            if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, (ast.USub, ast.UAdd)):
                node = parent
            elif isinstance(parent, ast.BinOp) and isinstance(parent.op, ARITHMETIC):
                other = parent.right if parent.left is node else parent.left
                if not self.number(other):
                    return node
                node = parent
            else:
                return node

    def number(self, node: ast.AST) -> bool:
        """Whether an expression is a number made of constants and float arguments."""
        if isinstance(node, ast.Constant):
            return type(node.value) in (int, float)
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, (ast.USub, ast.UAdd)) and self.number(node.operand)
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ARITHMETIC) and self.number(node.left) and self.number(node.right)
        return isinstance(node, ast.Name) and node.id in self.floats

    def used(self, node: ast.AST) -> None:
        """Unsafe unless what a node gives, a number or a tensor, is only computed with."""
        parent = self.parents[node]
        if isinstance(parent, ast.BinOp) and isinstance(parent.op, (*ARITHMETIC, ast.Pow, ast.MatMult)):
            if not any(isinstance(x, ast.Name) and x.id in self.tensors for x in (parent.left, parent.right)):
                self.used(parent)
            return
        if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, (ast.USub, ast.UAdd)):
            return self.used(parent)
        if isinstance(parent, ast.Attribute) and not hasattr(float, parent.attr):
            return None  # a tensor's
        if isinstance(parent, ast.keyword):
            parent = self.parents[parent]
        if isinstance(parent, ast.Call) and node is not parent.func and self.called(parent, node):
            return None
        if isinstance(parent, (ast.Return, ast.Expr)):
            return None
        if isinstance(parent, ast.Tuple) and isinstance(self.parents[parent], ast.Return):
            return None
        if isinstance(parent, ast.AugAssign) and node is parent.value and isinstance(parent.op, ARITHMETIC):
            return self.follow(parent.target)
        if isinstance(parent, ast.Assign) and node is parent.value and len(parent.targets) == 1:
            return self.follow(parent.targets[0])
        raise Unsafe

    def follow(self, target: ast.AST) -> None:
        """What is kept under a local name: its uses in turn. An attribute that changes ends the capture by itself."""
        if isinstance(target, ast.Attribute):
            return
        if not isinstance(target, ast.Name) or target.id not in self.f.__code__.co_varnames:
            raise Unsafe
        if target.id in self.followed or target.id in self.tensors:
            return
        self.followed.add(target.id)
        for n in ast.walk(self.tree):
            if isinstance(n, ast.Name) and n.id == target.id and isinstance(n.ctx, ast.Load):
                self.used(n)

    def called(self, call: ast.Call, node: ast.AST) -> bool:
        """Whether a call only computes with a node: an operation of numbers, or one of a tensor that it is."""
        chain: list[str] = []
        base = call.func
        while isinstance(base, ast.Attribute):
            chain.insert(0, base.attr)
            base = base.value
        name = chain[-1] if chain else getattr(base, "id", "")
        first = bool(call.args) and call.args[0] is node and ast.unparse(node) not in self.texts
        if isinstance(base, ast.Name) and base.id not in self.f.__code__.co_varnames:
            found = self.value(base.id, chain)
            owner = str(getattr(found, "__module__", None) or "")
            if isinstance(found, FunctionType) and owner.partition(".")[0] in ("flambeau", "torch"):
                wide = hasattr(Tensor, name) or hasattr(functional, name)
                return name.rstrip("_") in NUMERIC or (first and wide)
            return False
        if isinstance(base, ast.Name) and len(chain) == 1 and base.id not in self.tensors:
            code = self.f.__code__
            if base.id in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                return False
        return bool(chain) and name.rstrip("_") in NUMERIC and hasattr(Tensor, name)

    def value(self, name: str, chain: list[str]) -> Any:
        """What a global or closure variable is, or an attribute of it; a method of a tensor as the function."""
        space = inspect.getclosurevars(self.f)
        found = {**space.builtins, **space.globals, **space.nonlocals}.get(name)
        for attr in chain:
            found = getattr(type(found) if isinstance(found, Tensor) else found, attr, None)
        return found


NUMERIC = frozenset(  # operations whose numbers are arguments of their kernels
    (
        "add",
        "sub",
        "mul",
        "div",
        "addcmul",
        "addcdiv",
        "lerp",
        "clamp",
        "pow",
        "true_divide",
        "multiply",
        "subtract",
    )
)
