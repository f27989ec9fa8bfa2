"""torch.utils._pytree: containers come apart and together again."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

import flambeau.utils._pytree as pytree

Point = namedtuple("Point", "x y")
TREES = [
    1,
    [1, [2, (3,)]],
    {"b": 1, "a": [2, {}]},
    OrderedDict(z=1, a=2),
    defaultdict(list, {"a": [1]}),
    deque([1, [2]], maxlen=5),
    Point(1, [None]),
]


@pytest.mark.parametrize("tree", TREES)
def test_there_and_back(tree) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    back = pytree.tree_unflatten(leaves, spec)
    assert back == tree and type(back) is type(tree) and leaves == list(pytree.tree_iter(tree))
    assert spec == pytree.tree_structure(tree) and spec.num_leaves == len(leaves)
    assert [pytree.key_get(tree, path) for path, _ in pytree.tree_leaves_with_path(tree)] == leaves
    if not isinstance(tree, Point):
        assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec


def test_maps() -> None:
    tree = {"a": [1, 2.0], "b": (3,)}
    assert pytree.tree_map(lambda x, y: x + y, tree, tree) == {"a": [2, 4.0], "b": (6,)}
    assert pytree.tree_map_only(int, lambda x: -x, tree) == {"a": [-1, 2.0], "b": (-3,)}
    paths = pytree.tree_map_with_path(lambda p, x: pytree.keystr(p), tree)
    assert paths == {"a": ["['a'][0]", "['a'][1]"], "b": ("['b'][0]",)}
    assert pytree.tree_map(len, [[1], (2, 3)], is_leaf=lambda x: isinstance(x, tuple) or x == [1]) == [1, 2]
    assert (
        repr(pytree.tree_structure([1, (2,)])) == "TreeSpec(list, None, [*,\n  TreeSpec(tuple, None, [*])])"
    )


def test_what_does_not_fit_is_refused() -> None:
    spec = pytree.tree_structure([1, {"a": 2}])
    for tree, text in (([1], "arity"), ((1, {"a": 2}), "type"), ([1, {"b": 2}], "keys")):
        with pytest.raises(ValueError, match=f"Node {text} mismatch"):
            spec.flatten_up_to(tree)
    with pytest.raises(ValueError, match="has length 1 but"):
        pytree.tree_unflatten([1], spec)
    with pytest.raises(TypeError, match="instance of TreeSpec"):
        pytree.tree_unflatten([1], None)


def test_classes_of_ones_own() -> None:
    @dataclasses.dataclass
    class Pair:
        a: object
        b: object = None

    pytree.register_dataclass(Pair)
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_dataclass(Pair)
    leaves, spec = pytree.tree_flatten([Pair(1), Pair(2, 3)])
    assert leaves == [1, 2, 3] and spec.unflatten("xyz") == [Pair("x"), Pair("y", "z")]
