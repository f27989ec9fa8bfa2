"""torch.utils._pytree: nested containers taken apart into their leaves and put together again."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Context = Any
PyTree = Any
KeyPath = tuple[Any, ...]
Leaf = Callable[[Any], bool] | None


class NodeDef(NamedTuple):
    """How containers of a type come apart, into children and a context, and together again."""

    type: Any
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Any]] | None = None


class _Written(NamedTuple):
    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


SUPPORTED_NODES: dict[Any, NodeDef] = {}
_WRITTEN: dict[Any, _Written] = {}


def _same(context: Any) -> Any:
    return context


def register_pytree_node(
    cls: Any,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]],
    unflatten_fn: Callable[[Iterable[Any], Any], Any],
    *,
    serialized_type_name: str | None = None,
    to_dumpable_context: Callable[[Any], Any] | None = None,
    from_dumpable_context: Callable[[Any], Any] | None = None,
    flatten_with_keys_fn: Callable[[Any], Any] | None = None,
) -> None:
    """Make containers of a class nodes of trees. ValueError if they are already."""
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    name = serialized_type_name or f"{cls.__module__}.{cls.__qualname__}"
    _WRITTEN[cls] = _Written(name, to_dumpable_context or _same, from_dumpable_context or _same)


_register_pytree_node = _private_register_pytree_node = register_pytree_node


def register_dataclass(
    cls: type,
    *,
    field_names: list[str] | None = None,
    drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:
    """Make objects of a dataclass nodes, their fields children; those that are None count in the structure."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"register_dataclass() can only be called with a dataclass, but got {cls}")
    names = field_names or [f.name for f in dataclasses.fields(cls) if f.init]
    names = [name for name in names if name not in (drop_field_names or ())]

    def flatten(x: Any) -> Any:
        there = [name for name in names if getattr(x, name) is not None]
        return [getattr(x, name) for name in there], [there, [name for name in names if name not in there]]

    def with_keys(x: Any) -> Any:
        children, context = flatten(x)
        return [(GetAttrKey(name), child) for name, child in zip(context[0], children)], context

    def unflatten(children: Iterable[Any], context: Any) -> Any:
        return cls(**dict(zip(context[0], children)), **dict.fromkeys(context[1]))

    register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=serialized_type_name,
        flatten_with_keys_fn=with_keys,
    )


@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """A place in a list or tuple."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """What is there."""
        return sequence[self.idx]


@dataclasses.dataclass(frozen=True)
class MappingKey:
    """A key of a dict."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """What is there."""
        return mapping[self.key]


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """An attribute of an object."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """What is there."""
        return getattr(obj, self.name)


def is_namedtuple_class(cls: Any) -> bool:
    """Whether a class was made by collections.namedtuple or typing.NamedTuple."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_namedtuple_instance(obj: Any) -> bool:
    """Whether an object is a named tuple."""
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: Any) -> bool:
    """Whether an object or a class is a named tuple."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def _list_flatten(x: Any) -> Any:
    return list(x), None


def _list_flatten_with_keys(x: Any) -> Any:
    return [(SequenceKey(i), v) for i, v in enumerate(x)], None


def _dict_flatten(x: Any) -> Any:
    return list(x.values()), list(x)


def _dict_flatten_with_keys(x: Any) -> Any:
    return [(MappingKey(k), v) for k, v in x.items()], list(x)


def _dict_unflatten(values: Iterable[Any], context: Any) -> dict[Any, Any]:
    return dict(zip(context, values))


def _factory_written(context: Any) -> Any:
    factory, keys = context
    module, name = (None, None) if factory is None else (factory.__module__, factory.__qualname__)
    return {"default_factory_module": module, "default_factory_name": name, "dict_context": keys}


def _factory_read(made: Any) -> Any:
    """Only what is imported already is looked up: a text is not to import anything."""
    module, name = made["default_factory_module"], made["default_factory_name"]
    return [None if module is None else getattr(sys.modules[module], name), made["dict_context"]]


def _unnamed(cls: Any) -> Any:
    raise NotImplementedError(
        f"Can't serialize TreeSpec of namedtuple class {cls} because we didn't register a serializated_type_name."
    )


register_pytree_node(list, _list_flatten, lambda v, c: list(v), flatten_with_keys_fn=_list_flatten_with_keys)
register_pytree_node(
    tuple, _list_flatten, lambda v, c: tuple(v), flatten_with_keys_fn=_list_flatten_with_keys
)
register_pytree_node(dict, _dict_flatten, _dict_unflatten, flatten_with_keys_fn=_dict_flatten_with_keys)
register_pytree_node(
    namedtuple,
    lambda x: (list(x), type(x)),
    lambda v, c: c(*v),
    to_dumpable_context=_unnamed,
    flatten_with_keys_fn=lambda x: ([(GetAttrKey(f), v) for f, v in zip(x._fields, x)], type(x)),
)
register_pytree_node(
    OrderedDict,
    _dict_flatten,
    lambda v, c: OrderedDict(zip(c, v)),
    flatten_with_keys_fn=_dict_flatten_with_keys,
)
register_pytree_node(
    defaultdict,
    lambda x: (list(x.values()), [x.default_factory, list(x)]),
    lambda v, c: defaultdict(c[0], zip(c[1], v)),
    to_dumpable_context=_factory_written,
    from_dumpable_context=_factory_read,
    flatten_with_keys_fn=lambda x: (_dict_flatten_with_keys(x)[0], [x.default_factory, list(x)]),
)
register_pytree_node(
    deque,
    lambda x: (list(x), x.maxlen),
    lambda v, c: deque(v, maxlen=c),
    flatten_with_keys_fn=lambda x: (_list_flatten_with_keys(x)[0], x.maxlen),
)
BUILTIN_TYPES = frozenset(SUPPORTED_NODES)


def _node_of(tree: Any, is_leaf: Leaf = None) -> NodeDef | None:
    if is_leaf is not None and is_leaf(tree):
        return None
    found = SUPPORTED_NODES.get(type(tree))
    return SUPPORTED_NODES[namedtuple] if found is None and is_namedtuple_instance(tree) else found


def _get_node_type(tree: Any) -> Any:
    return namedtuple if is_namedtuple_instance(tree) else type(tree)


def tree_is_leaf(tree: Any, is_leaf: Leaf = None) -> bool:
    """Whether a tree is a single leaf."""
    return _node_of(tree, is_leaf) is None


class TreeSpec:
    """The structure of a tree: the type of its root, what else is to know of it, and the children's structures."""

    def __init__(self, type: Any, context: Any = None, children_specs: Iterable[TreeSpec] = ()):
        self.type, self.context, self.children_specs = type, context, list(children_specs)
        self.num_children = len(self.children_specs)
        self.num_nodes = 1 + sum(c.num_nodes for c in self.children_specs)
        self.num_leaves = 1 if self.is_leaf() else sum(c.num_leaves for c in self.children_specs)

    def is_leaf(self) -> bool:
        """Whether it is that of a leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The structures of the children."""
        return list(self.children_specs)

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self.children_specs[index]

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The parts of a tree where this structure has leaves. ValueError where it is another."""
        if self.is_leaf():
            return [tree]
        node = _node_of(tree)
        if node is None or node.type is not self.type:
            raise ValueError(
                f"Node type mismatch; expected {self.type!r}, but got {type(tree) if node is None else node.type!r}."
            )
        children, context = node.flatten_fn(tree)
        if len(children) != self.num_children:
            raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(children)}.")
        if node.type in (dict, OrderedDict, defaultdict):
            wanted = self.context[1] if node.type is defaultdict else self.context
            if set(wanted) != set(tree):
                raise ValueError(f"Node keys mismatch; expected {wanted!r}, but got {list(tree)!r}.")
            children = [tree[key] for key in wanted]
        elif context != self.context:
            raise ValueError(f"Node context mismatch for custom node type {self.type!r}.")
        return [x for spec, child in zip(self.children_specs, children) for x in spec.flatten_up_to(child)]

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """A tree of this structure with these leaves."""
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree "
                f"that holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.is_leaf():
            return next(leaves)
        children = [spec._build(leaves) for spec in self.children_specs]
        return SUPPORTED_NODES[self.type].unflatten_fn(children, self.context)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        mine, theirs = (self.type, self.context), (other.type, other.context)
        return mine == theirs and self.children_specs == other.children_specs

    def __hash__(self) -> int:
        return hash((self.type, repr(self.context), tuple(self.children_specs)))

    def __repr__(self, indent: int = 0) -> str:
        if self.is_leaf():
            return "*"
        inner = ""
        if self.num_children:
            inner = f",\n{' ' * (indent + 2)}".join(c.__repr__(indent + 2) for c in self.children_specs)
        return f"TreeSpec({self.type.__name__}, {self.context}, [{inner}])"


class LeafSpec(TreeSpec):
    """The structure of a leaf."""

    def __init__(self) -> None:
        super().__init__(None)


def treespec_leaf() -> TreeSpec:
    """The structure of a leaf."""
    return LeafSpec()


def _flatten(tree: Any, leaves: list[Any], is_leaf: Leaf) -> TreeSpec:
    node = _node_of(tree, is_leaf)
    if node is None:
        leaves.append(tree)
        return LeafSpec()
    children, context = node.flatten_fn(tree)
    return TreeSpec(node.type, context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_flatten(tree: Any, is_leaf: Leaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of a tree in order, and its structure."""
    leaves: list[Any] = []
    spec = _flatten(tree, leaves, is_leaf)
    return leaves, spec


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """A tree of a structure with these leaves. ValueError if they are too many or too few."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of type "
            f"{type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_iter(tree: Any, is_leaf: Leaf = None) -> Iterator[Any]:
    """The leaves of a tree, one after the other."""
    node = _node_of(tree, is_leaf)
    if node is None:
        yield tree
    else:
        for child in node.flatten_fn(tree)[0]:
            yield from tree_iter(child, is_leaf)


def tree_leaves(tree: Any, is_leaf: Leaf = None) -> list[Any]:
    """The leaves of a tree in order."""
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree: Any, is_leaf: Leaf = None) -> TreeSpec:
    """The structure of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Leaf = None) -> Any:
    """The tree of what func gives for each leaf, and for what the other trees have in its place."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return spec.unflatten(map(func, leaves, *[spec.flatten_up_to(r) for r in rests]))


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Leaf = None) -> Any:
    """Call func for each leaf; the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def map_only(kinds: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: what is not of these types (or what a function says no to) stays as it is."""
    wanted = (
        kinds if callable(kinds) and not isinstance(kinds, (type, tuple)) else lambda x: isinstance(x, kinds)
    )
    return lambda func: lambda x: func(x) if wanted(x) else x


def tree_map_only(kinds: Any, func: Callable[[Any], Any], tree: Any, is_leaf: Leaf = None) -> Any:
    """`tree_map` of the leaves of these types; others stay."""
    return tree_map(map_only(kinds)(func), tree, is_leaf=is_leaf)


def tree_map_only_(kinds: Any, func: Callable[[Any], Any], tree: Any, is_leaf: Leaf = None) -> Any:
    """Call func for each leaf of these types; the tree itself."""
    return tree_map_(map_only(kinds)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: Leaf = None) -> bool:
    """Whether pred holds for all leaves."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: Leaf = None) -> bool:
    """Whether pred holds for any leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(kinds: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Leaf = None) -> bool:
    """Whether pred holds for all leaves of these types."""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, kinds))


def tree_any_only(kinds: Any, pred: Callable[[Any], bool], tree: Any, is_leaf: Leaf = None) -> bool:
    """Whether pred holds for any leaf of these types."""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, kinds))


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """The leaves of all arguments."""
    return tree_leaves((args, kwargs))


def _with_paths(path: KeyPath, tree: Any, is_leaf: Leaf) -> Iterator[tuple[KeyPath, Any]]:
    node = _node_of(tree, is_leaf)
    if node is None:
        yield path, tree
        return
    if node.flatten_with_keys_fn is None:
        raise ValueError(f"Did not find a flatten_with_keys_fn for type: {node.type}.")
    for key, child in node.flatten_with_keys_fn(tree)[0]:
        yield from _with_paths((*path, key), child, is_leaf)


def tree_leaves_with_path(tree: Any, is_leaf: Leaf = None) -> list[tuple[KeyPath, Any]]:
    """The leaves of a tree in order, each with the keys that lead to it."""
    return list(_with_paths((), tree, is_leaf))


def tree_flatten_with_path(tree: Any, is_leaf: Leaf = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """As `tree_flatten`, each leaf with the keys that lead to it."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: Leaf = None) -> Any:
    """As `tree_map`, func is given the keys that lead to the leaf first."""
    found, spec = tree_flatten_with_path(tree, is_leaf)
    paths, leaves = [path for path, _ in found], [leaf for _, leaf in found]
    return spec.unflatten(map(func, paths, leaves, *[spec.flatten_up_to(r) for r in rests]))


def keystr(kp: KeyPath) -> str:
    """Keys that lead to a leaf, as one would write them."""
    return "".join(map(str, kp))


def key_get(obj: Any, kp: KeyPath) -> Any:
    """What keys lead to."""
    for key in kp:
        obj = key.get(obj)
    return obj


def _broadcast_to_and_flatten(tree: Any, treespec: TreeSpec, is_leaf: Leaf = None) -> list[Any] | None:
    """The leaves of a tree, each for all that the structure has in its place; None if the tree does not fit."""
    node = _node_of(tree, is_leaf)
    if treespec.is_leaf() or node is None:
        return [tree] * treespec.num_leaves if node is None else None
    children, context = node.flatten_fn(tree)
    if (node.type, context, len(children)) != (treespec.type, treespec.context, treespec.num_children):
        return None
    parts = [_broadcast_to_and_flatten(c, s, is_leaf) for c, s in zip(children, treespec.children_specs)]
    return None if None in parts else [x for part in parts for x in part]  # type: ignore[union-attr]


def _to_json(spec: TreeSpec) -> dict[str, Any]:
    if spec.is_leaf():
        return {"type": None, "context": None, "children_spec": []}
    how = _WRITTEN[spec.type]
    context = json.dumps(how.dump(spec.context))
    return {"type": how.name, "context": context, "children_spec": [_to_json(c) for c in spec.children_specs]}


def _from_json(made: dict[str, Any]) -> TreeSpec:
    if made["type"] is None:
        return LeafSpec()
    kind = next((cls for cls, how in _WRITTEN.items() if how.name == made["type"]), None)
    if kind is None:
        raise NotImplementedError(f"{made['type']} is not registered in the pytree serialization registry.")
    context = _WRITTEN[kind].load(json.loads(made["context"]))
    return TreeSpec(kind, context, [_from_json(c) for c in made["children_spec"]])


def treespec_dumps(treespec: TreeSpec, protocol: int | None = None) -> str:
    """A structure as a text of JSON: [1, {type, context, children_spec}]."""
    if protocol not in (None, 1):
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [1]")
    return json.dumps([1, _to_json(treespec)])


def treespec_loads(serialized: str) -> TreeSpec:
    """The structure that `treespec_dumps` wrote."""
    protocol, made = json.loads(serialized)
    if protocol != 1:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [1]")
    return _from_json(made)


def treespec_pprint(treespec: TreeSpec) -> str:
    """A structure as the tree of its leaves' stars."""
    return repr(
        tree_unflatten([type("Star", (), {"__repr__": lambda s: "*"})()] * treespec.num_leaves, treespec)
    )
