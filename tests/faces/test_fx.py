"""torch.fx: what is traced, its text, what is changed in it, and that it still computes the same."""

from __future__ import annotations

import copy
import gc
import importlib
import io
import math
import pickle
import sys

import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import fx, nn
from flambeau.fx.interception import WATCH, names
from flambeau.fx.passes.shape_prop import ShapeProp
from flambeau.fx.proxy import TraceError


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        before = x
        x = self.act(self.bn(self.conv(x)))
        x += before
        return F.relu(x)


class Net(nn.Module):
    """A small residual network with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.layers = nn.Sequential(Block(4), Block(4))
        self.fc = nn.Linear(4, 5)
        self.scale = nn.Parameter(torch.full((5,), 2.0))
        self.register_buffer("shift", torch.ones(5))

    def forward(self, x, extra=None):
        x = F.adaptive_avg_pool2d(self.layers(self.stem(x)), (1, 1))
        return self.fc(torch.flatten(x, 1)) * self.scale + self.shift


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    net = Net().eval()
    return net, fx.symbolic_trace(net), torch.randn(2, 3, 6, 6)


NET = """


def forward(self, x, extra = None):
    stem = self.stem(x);  x = None
    layers_0_conv = getattr(self.layers, "0").conv(stem)
    layers_0_bn = getattr(self.layers, "0").bn(layers_0_conv);  layers_0_conv = None
    layers_0_act = getattr(self.layers, "0").act(layers_0_bn);  layers_0_bn = None
    add = layers_0_act + stem;  layers_0_act = stem = None
    relu = torch.nn.functional.relu(add, inplace = False);  add = None
    layers_1_conv = getattr(self.layers, "1").conv(relu)
    layers_1_bn = getattr(self.layers, "1").bn(layers_1_conv);  layers_1_conv = None
    layers_1_act = getattr(self.layers, "1").act(layers_1_bn);  layers_1_bn = None
    add_1 = layers_1_act + relu;  layers_1_act = relu = None
    relu_1 = torch.nn.functional.relu(add_1, inplace = False);  add_1 = None
    adaptive_avg_pool2d = torch.nn.functional.adaptive_avg_pool2d(relu_1, (1, 1));  relu_1 = None
    flatten = torch.flatten(adaptive_avg_pool2d, 1);  adaptive_avg_pool2d = None
    fc = self.fc(flatten);  flatten = None
    scale = self.scale
    mul = fc * scale;  fc = scale = None
    shift = self.shift
    add_2 = mul + shift;  mul = shift = None
    return add_2
    """


def test_a_module_is_traced_and_computes_the_same(traced) -> None:
    net, made, x = traced
    want = net(x)
    assert made.code == NET
    assert list(made.state_dict()) == ["scale", "shift"] + [
        n for n in net.state_dict() if n[:2] not in ("sc", "sh")
    ]
    assert torch.equal(made(x), want)
    assert torch.equal(fx.Interpreter(made).run(x), want)
    with torch.enable_grad():
        made(x).sum().backward()
    assert made.scale is net.scale and net.scale.grad is not None


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle", "save"])
def test_a_copy_is_another_module_that_computes_the_same(traced, how) -> None:
    net, made, x = traced
    if how == "save":
        file = io.BytesIO()
        torch.save(made, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = {
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
            "pickle": lambda m: pickle.loads(pickle.dumps(m)),
        }[how](made)
    assert other.code == made.code and torch.equal(other(x), net(x))
    assert (other.fc.weight is net.fc.weight) == (how == "copy")
    node = other.graph.find_nodes(op="call_function", target=F.relu)[0]
    node.target, node.kwargs = torch.sigmoid, {}
    other.recompile()
    assert "sigmoid" in other.code and made.code == NET and not torch.equal(other(x), made(x))


def test_operations_are_replaced(traced) -> None:
    net, made, x = traced
    made = copy.deepcopy(made)
    for node in made.graph.nodes:
        if node.op == "call_function" and node.target is F.relu:
            with made.graph.inserting_after(node):
                node.replace_all_uses_with(made.graph.call_function(F.gelu, node.args))
            made.graph.erase_node(node)
    made.graph.lint()
    made.recompile()
    assert made.code.count("= torch._C._nn.gelu(") == 2 and "torch.nn.functional.relu" not in made.code
    after = made.get_submodule("layers")
    y = net.stem(x)
    for i in "01":
        block = getattr(after, i)
        y = F.gelu(block.act(block.bn(block.conv(y))) + y)
    want = net.fc(y.mean((2, 3))) * net.scale + net.shift
    torch.testing.assert_close(made(x), want)


def body(fn, **options) -> str:
    """The statements of a traced function."""
    return "\n".join(line.strip() for line in fx.symbolic_trace(fn, **options).code.strip().split("\n"))


def test_text_of_operators_methods_and_attributes() -> None:
    def f(x, *rest, k=2.5, **named):
        a, b = x.chunk(2)
        y = x.shape[0] * -a + 2 / b[..., None, 1:]
        return {
            "y": (y.sum(dim=-1, keepdim=True).to(torch.float32), [rest[0] @ y, k]),
            "d": abs(x),
            "z": named["z"],
        }

    assert body(f) == (
        "def forward(self, x, k = 2.5, *rest, **named):\n"
        "_rest = rest\n"
        "_named = named\n"
        "chunk = x.chunk(2)\n"
        "getitem = chunk[0]\n"
        "getitem_1 = chunk[1];  chunk = None\n"
        "getattr_1 = x.shape\n"
        "getitem_2 = getattr_1[0];  getattr_1 = None\n"
        "neg = -getitem;  getitem = None\n"
        "mul = getitem_2 * neg;  getitem_2 = neg = None\n"
        "getitem_3 = getitem_1[(Ellipsis, None, slice(1, None, None))];  getitem_1 = None\n"
        "truediv = 2 / getitem_3;  getitem_3 = None\n"
        "add = mul + truediv;  mul = truediv = None\n"
        "sum_1 = add.sum(dim = -1, keepdim = True)\n"
        "to = sum_1.to(torch.float32);  sum_1 = None\n"
        "getitem_4 = _rest[0];  _rest = None\n"
        "matmul = getitem_4 @ add;  getitem_4 = add = None\n"
        "abs_1 = abs(x);  x = None\n"
        "getitem_5 = _named['z'];  _named = None\n"
        "return {'y': (to, [matmul, k]), 'd': abs_1, 'z': getitem_5}"
    )


def test_text_of_a_graph_and_what_is_known_of_its_nodes() -> None:
    made = fx.symbolic_trace(lambda x, y=3: torch.cat([x, x], dim=1).relu() + y)
    assert str(made.graph) == (
        "graph():\n"
        "    %x : [num_users=1] = placeholder[target=x]\n"
        "    %y : [num_users=1] = placeholder[target=y](default=3)\n"
        "    %cat : [num_users=1] = call_function[target=torch.cat](args = ([%x, %x],), kwargs = {dim: 1})\n"
        "    %relu : [num_users=1] = call_method[target=relu](args = (%cat,), kwargs = {})\n"
        "    %add : [num_users=1] = call_function[target=operator.add](args = (%relu, %y), kwargs = {})\n"
        "    return add"
    )
    x, _, cat, relu, add, output = made.graph.nodes
    assert cat.all_input_nodes == [x] and list(cat.users) == [relu] and x < cat < add and relu.prev is cat
    assert next(n.op for n in reversed(made.graph.nodes)) == "output" and len(made.graph.nodes) == 6
    assert made.graph.output_node() is output and fx.map_arg([x, (1, add)], lambda n: n.name) == [
        "x",
        (1, "add"),
    ]
    with pytest.raises(TypeError, match="does not support mutation"):
        cat.args[0].append(x)
    with pytest.raises(RuntimeError, match="still had 1 users"):
        made.graph.erase_node(cat)
    cat.append(add)
    with pytest.raises(RuntimeError, match="used before it has been defined"):
        made.graph.lint()


def test_control_flow_that_depends_on_values_is_refused_at_its_line() -> None:
    def f(x):
        if x.sum() > 0:
            return x
        return -x

    line = f.__code__.co_firstlineno + 1
    with pytest.raises(
        TraceError, match=rf"cannot be used as inputs to control flow \(at .*test_fx.py:{line}\)"
    ):
        fx.symbolic_trace(f)
    with pytest.raises(TraceError, match="cannot be iterated"):
        fx.symbolic_trace(lambda x: list(x))
    with pytest.raises(RuntimeError, match="'len' is not supported"):
        fx.symbolic_trace(lambda x: x[: len(x)])
    assert not WATCH.active or WATCH.token() is not None
    assert body(lambda x, flag=True: x if flag else -x, concrete_args={"flag": False}).endswith("return neg")


@fx.wrap
def kept(x, n):
    """A function that is not traced into."""
    return x * n if n > 0 else x


def test_wrapped_functions_are_leaves() -> None:
    made = fx.symbolic_trace(lambda x: kept(x, x.dim()) + math.sqrt(x.size(0)))
    assert "wrap(" in made.code and "kept(x, dim)" in made.code and "math_sqrt(size)" in made.code
    assert torch.equal(made(torch.ones(4, 2)), torch.full((4, 2), 4.0))
    assert kept.__name__ == "kept" and math.sqrt(4) == 2


def test_every_public_function_sees_proxies() -> None:
    calls = [
        *(lambda x: F.conv2d(x, x), lambda x: F.softmax(x, 1), lambda x: F.interpolate(x, scale_factor=2)),
        *(
            lambda x: torch.reshape(x, (2, -1)),
            lambda x: torch.permute(x, (1, 0)),
            lambda x: F.dropout(x, 0.5),
        ),
        *(
            lambda x: F.batch_norm(x, x, x),
            lambda x: torch.einsum("ij->ji", x),
            lambda x: torch.tensordot(x, x, 1),
        ),
        *(
            lambda x: F.scaled_dot_product_attention(x, x, x),
            lambda x: F.max_pool2d(x, 2),
            lambda x: F.pad(x, (1, 1)),
        ),
        *(lambda x: F.cross_entropy(x, x), lambda x: torch.zeros_like(x), lambda x: torch.stack([x, x])),
        *(lambda x: torch.where(x, x, x), lambda x: F.embedding(x, x), lambda x: torch.matmul(x, x)),
        *(lambda x: F.pixel_shuffle(x, 2), lambda x: F.layer_norm(x, (3,)), lambda x: torch.linalg.norm(x)),
        *(
            lambda x: torch.ones(2).to(x),
            lambda x: torch.full((2,), 1.0, device=x.device),
            lambda x: torch.add(1, x),
        ),
    ]
    for call in calls:
        graph = fx.symbolic_trace(call).graph
        ops = [
            n
            for n in graph.nodes
            if n.op not in ("placeholder", "output", "get_attr") and n.target is not getattr
        ]
        assert len(ops) == 1 and ops[0].op == ("call_method" if ops[0].target == "to" else "call_function"), (
            graph
        )
        assert ops[0].op == "call_method" or ops[0].target in names()


def test_arguments_are_those_that_pytorch_hands_on() -> None:
    def f(x, w):
        a = torch.einsum("ij,jk->ik", [x, w])
        return F.leaky_relu(torch.tensordot(a, w, 1), 0.1) + F.linear(x, w) + torch.ones(2).mul(x)

    text = body(f)
    assert "einsum = torch.functional.einsum('ij,jk->ik', x, w)" in text
    assert "tensordot = torch.functional.tensordot(einsum, w, dims = 1)" in text
    assert "torch.nn.functional.leaky_relu(tensordot, negative_slope = 0.1, inplace = False)" in text
    assert "linear = torch._C._nn.linear(x, w)" in text and "mul = _tensor_constant0.mul(x)" in text
    x = torch.rand(2, 2)
    assert torch.equal(fx.symbolic_trace(f)(x, x), f(x, x))


def test_ordinary_calls_have_their_own_code_again() -> None:
    before = torch.reshape.__code__
    proxy = fx.Proxy(fx.Graph().placeholder("x"))
    assert torch.reshape.__code__ is not before
    assert torch.reshape(proxy, (2, -1)).node.format_node().endswith("(args = (%x, (2, -1)), kwargs = {})")
    assert torch.reshape(torch.ones(4), (2, -1)).shape == (2, 2)
    del proxy
    gc.collect()
    assert torch.reshape.__code__ is before and torch.reshape(torch.ones(4), (2, -1)).shape == (2, 2)


def test_a_pattern_is_replaced() -> None:
    def f(x, w1, w2):
        a = torch.cat([w1, w2]).sum()
        b = torch.cat([w1, w2]).sum()
        return x + torch.max(a) + torch.max(b)

    made = fx.symbolic_trace(f)
    found = fx.replace_pattern(made, lambda a, b: torch.cat([a, b]).sum(), lambda a, b: torch.stack([a, b]))
    assert len(found) == 2 and found[0].anchor.name == "sum_1"
    made.graph.lint()
    assert body(made) == (
        "def forward(self, x, w1, w2):\n"
        "stack = torch.stack([w1, w2])\n"
        "max_1 = torch.max(stack);  stack = None\n"
        "add = x + max_1;  x = max_1 = None\n"
        "stack_1 = torch.stack([w1, w2]);  w1 = w2 = None\n"
        "max_2 = torch.max(stack_1);  stack_1 = None\n"
        "add_1 = add + max_2;  add = max_2 = None\n"
        "return add_1"
    )
    chain = fx.symbolic_trace(lambda x: torch.relu(torch.relu(x) + 1))
    fx.replace_pattern(chain, lambda x: torch.relu(x), lambda x: torch.sigmoid(x) * 2)
    x = torch.tensor([-1.0, 0.5])
    assert torch.equal(chain(x), torch.sigmoid(torch.sigmoid(x) * 2 + 1) * 2)


def test_transformers_interpreters_and_shapes(traced) -> None:
    class Negated(fx.Transformer):
        """Puts neg where sigmoid is."""

        def call_function(self, target, args, kwargs):
            return super().call_function(torch.neg if target is torch.sigmoid else target, args, kwargs)

    made = Negated(fx.symbolic_trace(lambda x: torch.sigmoid(x).sum() + 1)).transform()
    assert "neg = torch.neg(x)" in made.code and made(torch.ones(2)).item() == -1
    _, net, x = traced
    ShapeProp(net).propagate(x)
    meta = {n.name: n.meta["tensor_meta"] for n in net.graph.nodes if "tensor_meta" in n.meta}
    assert meta["stem"].shape == (2, 4, 4, 4) and meta["stem"].stride == (64, 16, 4, 1)
    assert meta["output"].dtype is torch.float32 and meta["flatten"].memory_format is torch.contiguous_format
    with pytest.raises(RuntimeError, match="While executing %matmul"):
        fx.Interpreter(fx.symbolic_trace(lambda x: torch.matmul(x, x))).run(torch.ones(2, 3))


def test_graphs_made_by_hand() -> None:
    g = fx.Graph()
    a = g.placeholder("a")
    total = g.call_function(torch.add, (g.call_module("inner.lin", (a,)), g.get_attr("w")))
    g.call_method("relu", (total,))
    g.output(total)
    assert g.eliminate_dead_code() and not g.find_nodes(op="call_method")
    lin = nn.Linear(2, 3)
    made = fx.GraphModule({"inner.lin": lin, "w": nn.Parameter(torch.ones(3))}, g)
    x = torch.ones(2)
    assert torch.equal(made(x), lin(x) + 1)
    assert made.add_submodule("more.act", nn.ReLU()) and made.add_submodule("other", nn.ReLU())
    made.delete_all_unused_submodules()
    assert [n for n, _ in made.named_modules()] == ["", "inner", "inner.lin"]
    assert made.delete_submodule("inner.lin") and not made.delete_submodule("nothing")


def test_leaves_and_buffers_are_the_tracers_choice(traced) -> None:
    class Blocks(fx.Tracer):
        """Does not look into blocks; buffers are nodes."""

        proxy_buffer_attributes = True

        def is_leaf_module(self, m, module_qualified_name):
            return isinstance(m, Block) or super().is_leaf_module(m, module_qualified_name)

    net, _, x = traced
    graph = Blocks().trace(net)
    called = [n.target for n in graph.find_nodes(op="call_module")]
    assert called == ["stem", "layers.0", "layers.1", "fc"]
    assert [n.target for n in graph.find_nodes(op="get_attr")] == ["scale", "shift"]
    assert torch.equal(fx.GraphModule(net, graph)(x), net(x))


def test_readable_source_and_a_folder(traced, tmp_path, monkeypatch) -> None:
    net, made, x = traced
    text = made.print_readable(print_output=False)
    assert text.startswith("class Net(torch.nn.Module):\n    def forward(self, x, extra = None):\n")
    made.to_folder(tmp_path / "written", "Written")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.syspath_prepend(str(tmp_path))
    other = importlib.import_module("written").Written().eval()
    assert torch.equal(other(x), net(x))


def test_an_error_shows_the_line_of_the_code(capsys) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        fx.symbolic_trace(lambda x: x.nothing())(torch.ones(1))
    assert "line 5 of its code: nothing = x.nothing()" in capsys.readouterr().err
