"""The rules of the graph: views, in-place writes, versions, errors, names, second order; each as PyTorch has it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

PROGRAMS: dict[str, Any] = {}
ERRORS: dict[str, tuple[Any, str]] = {}


def program(fn: Any) -> Any:
    PROGRAMS[fn.__name__] = fn
    return fn


def error(words: str) -> Any:
    """A program that must fail, with these words in PyTorch's message and in ours."""

    def declare(fn: Any) -> Any:
        ERRORS[fn.__name__] = (fn, words)
        return fn

    return declare


@pytest.mark.torch
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, compare: Any) -> None:
    compare(PROGRAMS[name])


@pytest.mark.torch
@pytest.mark.parametrize("name", ERRORS)
def test_error(name: str, compare: Any) -> None:
    fn, words = ERRORS[name]
    with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
        import flambeau

        fn(flambeau)
    assert words in str(caught.value)
    compare(fn, words=words)


def leaf(torch: Any, *values: float) -> Any:
    return torch.tensor(values or (1.0, 2.0, 3.0, 4.0), requires_grad=True)


def chain(node: Any) -> Any:
    """The graph below a node as nested names."""
    if node is None:
        return None
    return [node.name(), [[chain(n), nr] for n, nr in node.next_functions]]


# --- views and in-place writes ------------------------------------------------------------------------------------


@program
def write_through_view_reaches_base(torch):
    a = leaf(torch, 1.0, 2.0)
    b = a * 2
    v = b[1:]
    v.mul_(3)
    b.sum().backward()
    return a.grad, b


@program
def view_sees_write_to_base(torch):
    a = leaf(torch)
    b = a * 2
    v = b[1:3]
    b.mul_(5)
    v.sum().backward()
    return a.grad, v


@program
def view_taken_before_and_after(torch):
    a = leaf(torch)
    b = a.clone()
    v = b[:2]
    w = b[1:]
    v.mul_(w[:2] * 1.5)
    (b * b).sum().backward()
    return a.grad, b


@program
def view_of_view_written(torch):
    a = leaf(torch, *map(float, range(12)))
    b = (a * 1).view(3, 4)
    v = b[1].view(2, 2).t()
    v.mul_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    v[0].add_(1)
    (b.view(-1) * torch.arange(12.0)).sum().backward()
    return a.grad, b, v


@program
def copy_into_slices(torch):
    a, c = leaf(torch), leaf(torch, 5.0, 6.0)
    b = torch.zeros(4)
    b[:2] = c * 2
    b[2:] = a[:2] * 3
    (b * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    return a.grad, c.grad, b, b.requires_grad, b.is_leaf


@program
def write_into_expanded_base(torch):
    a = leaf(torch)
    b = a * 2
    e = b.expand(3, 4)
    b.mul_(2)
    e.sum().backward()
    return a.grad


@program
def write_to_leaf_under_no_grad(torch):
    a = leaf(torch)
    with torch.no_grad():
        a.mul_(2)
        a[0] = 7
    (a * a).sum().backward()
    return a.grad, a._version


@program
def base_without_grad_gets_it_through_view(torch):
    b = torch.zeros(4)
    v = b[1:3]
    w = leaf(torch, 1.0, 2.0)
    v.add_(w)
    (b * 2).sum().backward()
    return b.requires_grad, v.requires_grad, w.grad, v.grad_fn.name(), b.grad_fn.name()


@program
def other_view_gets_history(torch):
    b = torch.zeros(4)
    v, u = b[1:3], b[2:]
    v.add_(leaf(torch, 1.0, 2.0))
    return u.requires_grad, u.grad_fn.name(), u.is_leaf


@program
def views_made_before_their_base_has_a_history(torch):
    w = leaf(torch, 2.0, 3.0)
    a = torch.ones(2)
    view, apart = a[:1], a[:1].detach()
    a.mul_(w)
    b = torch.ones(2)
    one, other = b[:1], b[1:]
    one.mul_(w[:1])
    c = torch.ones(2)
    with torch.no_grad():
        hidden = c[:1]
    c.mul_(w)
    try:
        said = (hidden * 2).requires_grad
    except RuntimeError as error:
        said = str(error)[:40]
    (view * 5 + other * 7).sum().backward()
    return [w.grad, view.requires_grad, (apart * 2).requires_grad, other.requires_grad, said]


@program
def a_view_of_a_leaf_that_is_written_under_no_grad(torch):
    a = leaf(torch, 1.0, 2.0, 3.0, 4.0)
    view = a[1:3]
    with torch.no_grad():
        a.mul_(2)
    (view * view).sum().backward()
    return [view, view.requires_grad, view.is_leaf, a.grad]


@program
def transposed_write(torch):
    a = leaf(torch, *map(float, range(6)))
    b = a.view(2, 3) * 1
    b.t()[1].mul_(10)
    b.sum().backward()
    return a.grad


@program
def inplace_relu_chain(torch):
    a = leaf(torch, -1.0, 2.0, -3.0, 4.0)
    b = (a * 2).relu_()
    b = b + 1
    b.add_(1).mul_(3)
    b.sum().backward()
    return a.grad, b._version, b.grad_fn.name()


@program
def mul_by_itself_in_place(torch):
    a = leaf(torch)
    b = a.clone()
    b += b
    b.sum().backward()
    return a.grad


@program
def zero_cuts_history(torch):
    a = leaf(torch)
    b = a * 2
    b.zero_()
    b += a
    b.sum().backward()
    return a.grad


@program
def fill_of_slice(torch):
    a = leaf(torch)
    b = a * 2
    b[1:3] = 0
    b[0].fill_(3)
    (b * b).sum().backward()
    return a.grad


@program
def masked_write(torch):
    a = leaf(torch)
    b = a * 2
    b[b > 5] = 1.0
    (b * b).sum().backward()
    return a.grad


# --- versions -----------------------------------------------------------------------------------------------------


@program
def versions(torch):
    a = torch.zeros(4)
    v, d, t = a[1:], a.detach(), a.data
    a.add_(1)
    v.add_(1)
    d.add_(1)
    first = a._version, v._version, d._version, t._version
    t.add_(1)
    return first, a._version, t._version, a


@program
def detach_shares_memory(torch):
    a = leaf(torch)
    b = a * 2
    d = b.detach()
    d[0] = 100
    return b, d.requires_grad, d.grad_fn, d.is_leaf


@program
def data_write_is_not_seen(torch):
    a = leaf(torch)
    b = a.exp()
    b.data.zero_()
    b.sum().backward()
    return a.grad


@program
def set_data(torch):
    a = leaf(torch)
    a.data = torch.tensor([5.0, 6.0, 7.0, 8.0])
    (a * a).sum().backward()
    return a, a.grad


@program
def copy_bumps_version(torch):
    a = torch.zeros(2)
    a.copy_(torch.ones(2))
    a[:] = 3
    a += 1
    return a._version


@error("modified by an inplace operation")
def saved_result_overwritten(torch):
    x = leaf(torch)
    y = x.exp()
    y.add_(1)
    y.sum().backward()


@error("modified by an inplace operation")
def saved_operand_overwritten(torch):
    x = leaf(torch)
    y = x * 1
    z = y * y
    y.add_(1)
    z.sum().backward()


@error("is at version 1; expected version 0 instead")
def versions_named(torch):
    x = leaf(torch)
    y = x.exp()
    y.mul_(2)
    y.sum().backward()


@error("[torch.FloatTensor [4]], which is output 0 of Exp, is")
def operation_named(torch):
    x = leaf(torch)
    y = x.exp()
    y.detach().mul_(2)
    y.sum().backward()


@error("[torch.FloatTensor [2]], which is output 0 of Mul, is")
def operation_of_operand_named(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 3
    z = y.pow(2)
    y.mul_(2)
    z.sum().backward()


@error("is at version 2; expected version 1 instead")
def versions_counted(torch):
    x = leaf(torch)
    y = x * 1
    y.add_(1)
    z = y * y
    y.add_(1)
    z.sum().backward()


@error("modified by an inplace operation")
def saved_operand_overwritten_through_view(torch):
    x, w = leaf(torch), torch.ones(4)
    z = x * w
    w[1:2].add_(1)
    z.sum().backward()


@error("modified by an inplace operation")
def saved_operand_overwritten_through_detach(torch):
    x, w = leaf(torch), torch.ones(4)
    d = w.detach()
    z = x * w
    d.add_(1)
    z.sum().backward()


@error("modified by an inplace operation")
def saved_operand_overwritten_under_no_grad(torch):
    x = leaf(torch)
    z = x * x
    with torch.no_grad():
        x.add_(1)
    z.sum().backward()


@program
def overwritten_but_not_needed(torch):
    x, w = leaf(torch), torch.ones(4)
    y = x * 2
    z = y + w
    y.add_(1)
    w.add_(1)
    z.sum().backward()
    return x.grad


@error("modified by an inplace operation")
def saved_of_inplace_result(torch):
    x = leaf(torch)
    y = (x * 1).exp_()
    y.add_(1)
    y.sum().backward()


@program
def write_after_backward(torch):
    x = leaf(torch)
    y = x.exp()
    y.sum().backward()
    y.add_(1)
    return x.grad, y


# --- leaves and views that refuse -----------------------------------------------------------------------------------


@error("a leaf Variable that requires grad is being used in an in-place operation.")
def write_to_leaf(torch):
    leaf(torch).add_(1)


@error("a leaf Variable that requires grad is being used in an in-place operation.")
def fill_leaf(torch):
    leaf(torch).zero_()


@error("a view of a leaf Variable that requires grad is being used in an in-place operation.")
def write_to_view_of_leaf(torch):
    leaf(torch)[1:].add_(1)


@error("a view of a leaf Variable that requires grad is being used in an in-place operation.")
def assign_to_leaf(torch):
    leaf(torch)[0] = 1.0


@error(
    "is a view and is being modified inplace. This view is the output of a function that returns multiple views."
)
def write_to_output_of_unbind(torch):
    (leaf(torch) * 1).unbind()[0].add_(1)


@error(
    "is a view and is being modified inplace. This view is the output of a function that returns multiple views."
)
def write_to_output_of_chunk(torch):
    (leaf(torch) * 1).chunk(2)[1].mul_(2)


@error(
    "is a view and is being modified inplace. This view is the output of a function that returns multiple views."
)
def write_to_output_of_split(torch):
    (leaf(torch) * 1).split(1)[1].mul_(2)


@program
def unbind_of_plain_tensor_is_writable(torch):
    a = torch.zeros(3)
    a.unbind()[1].add_(4)
    return a


@error("A view was created in no_grad mode and is being modified inplace with grad mode enabled.")
def write_to_view_made_without_grad(torch):
    b = leaf(torch) * 1
    with torch.no_grad():
        v = b[1:]
    v.add_(1)


@error("A view was created in no_grad mode and is being modified inplace with grad mode enabled.")
def write_of_what_needs_a_gradient_to_view_made_without(torch):
    with torch.no_grad():
        v = torch.zeros(3)[1:]
    v.add_(leaf(torch)[2:])


@error("one of the variables needed for gradient computation has been modified by an inplace operation")
def result_saved_through_a_view_is_overwritten(torch):
    y = leaf(torch) * 2
    v = y[1:]
    v.tanh_()
    v.mul_(3)
    y.sum().backward()


@error("This view is the output of a function that returns multiple views.")
def write_of_what_needs_a_gradient_to_output_of_unbind(torch):
    a = (leaf(torch) * 1).unbind()[1]
    a.add_(leaf(torch)[0])


@error("you can only change requires_grad flags of leaf variables.")
def requires_grad_of_result(torch):
    y = leaf(torch) * 2
    y.requires_grad = False


@error("only Tensors of floating point")
def requires_grad_of_integers(torch):
    torch.tensor([1, 2]).requires_grad_()


@error("grad can be implicitly created only for scalar outputs")
def backward_of_vector(torch):
    (leaf(torch) * 2).backward()


@error("element 0 of tensors does not require grad and does not have a grad_fn")
def backward_without_graph(torch):
    torch.ones(()).backward()


@error(
    "Mismatch in shape: grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape of torch.Size([4])."
)
def gradient_of_wrong_shape(torch):
    (leaf(torch) * 2).backward(torch.ones(3))


@error("Trying to backward through the graph a second time")
def second_backward(torch):
    y = (leaf(torch) ** 2).sum()
    y.backward()
    y.backward()


@error("Trying to backward through the graph a second time")
def second_backward_of_shared_part(torch):
    h = leaf(torch).exp()
    (h * 2).sum().backward()
    (h * 3).sum().backward()


@error("The differentiated Tensor at index 1 appears to not have been used in the graph.")
def grad_of_unused(torch):
    x, z = leaf(torch), leaf(torch)
    torch.autograd.grad(x.sum(), [x, z])


@error("One of the differentiated Tensors does not require grad")
def grad_of_constant(torch):
    torch.autograd.grad(leaf(torch).sum(), [torch.ones(2)])


@error("`inputs` argument to `backward()` cannot be empty.")
def backward_with_no_inputs(torch):
    leaf(torch).sum().backward(inputs=[])


@error("attempting to assign a gradient of size '[3]' to a tensor of size '[4]'.")
def grad_of_wrong_size(torch):
    x = leaf(torch)
    x.grad = torch.ones(3)


@error("assigned grad expected to be a Tensor or None but got")
def grad_of_wrong_type(torch):
    x = leaf(torch)
    x.grad = 3


@error("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
def numpy_of_graph(torch):
    (leaf(torch) * 2).numpy()


@error(
    "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
)
def deepcopy_of_result(torch):
    import copy

    copy.deepcopy(leaf(torch) * 2)


@error("functions with out=... arguments don't support automatic differentiation")
def out_of_graph(torch):
    torch.add(leaf(torch), 1, out=torch.empty(4))


@error("can't retain_grad on Tensor that has requires_grad=False")
def retain_without_grad(torch):
    torch.ones(2).retain_grad()


# --- walks ----------------------------------------------------------------------------------------------------------


@program
def two_walks(torch):
    x = leaf(torch)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@program
def second_walk_without_saved_values(torch):
    x = leaf(torch)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    return x.grad


@program
def backward_with_inputs(torch):
    x, w = leaf(torch), leaf(torch)
    (x * w).sum().backward(inputs=[x])
    return x.grad, w.grad


@program
def backward_with_inner_input(torch):
    x = leaf(torch)
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward(inputs=[h])
    return h.grad, x.grad


@program
def grads_given(torch):
    x = leaf(torch)
    torch.autograd.backward([x * 2, x * 3], [torch.ones(4), torch.full((4,), 2.0)])
    return x.grad


@program
def grad_function(torch):
    x, w = leaf(torch), leaf(torch)
    h = x * w
    g = torch.autograd.grad((h * h).sum(), [x, h, w], allow_unused=True)
    return g, x.grad


@program
def unused_is_none(torch):
    x, z = leaf(torch), leaf(torch)
    return torch.autograd.grad(x.sum(), [x, z], allow_unused=True)


@program
def unused_is_zero(torch):
    x, z = leaf(torch), leaf(torch)
    return torch.autograd.grad(x.sum(), [x, z], materialize_grads=True)


@program
def grad_of_output_itself(torch):
    y = leaf(torch).sum()
    return torch.autograd.grad(y, y)


@program
def accumulation(torch):
    x = leaf(torch)
    for i in range(3):
        (x * i).sum().backward()
    first = x.grad
    x.grad = None
    x.sum().backward()
    return first, x.grad


@program
def gradients_are_not_shared(torch):
    x, w = leaf(torch), leaf(torch)
    (x + w).sum().backward()
    x.grad.mul_(3)
    return x.grad, w.grad


@program
def given_gradient_is_not_shared(torch):
    x = leaf(torch)
    g = torch.ones(4)
    x.backward(g)
    x.grad.mul_(3)
    return x.grad, g


@program
def grad_identity_kept(torch):
    x = leaf(torch)
    x.sum().backward()
    g = x.grad
    x.sum().backward()
    return g is x.grad, g, x.grad.requires_grad


@program
def diamond(torch):
    x = leaf(torch)
    a, b = x * 2, x * 3
    ((a * b) + a.sin() * b.cos()).sum().backward()
    return x.grad


@program
def several_results(torch):
    x = leaf(torch, 3.0, 1.0, 2.0)
    values, indices = x.sort()
    (values * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    return x.grad, indices, values.grad_fn.name()


@program
def unused_results(torch):
    x = leaf(torch)
    parts = (x * 2).split(2)
    parts[1].sum().backward()
    return x.grad


@program
def dtype_of_gradients(torch):
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    w = leaf(torch, 1.0, 2.0, 3.0)
    (x * w).sum().backward()
    return str(x.grad.dtype)[-7:], str(w.grad.dtype)[-7:], w.grad


@program
def broadcast_gradients(torch):
    a = torch.ones(3, 1, requires_grad=True)
    b = torch.ones(1, 4, requires_grad=True)
    c = torch.tensor(2.0, requires_grad=True)
    (a * b * c).sum().backward()
    return a.grad, b.grad, c.grad


# --- second order ---------------------------------------------------------------------------------------------------


@program
def third_derivative(torch):
    x = leaf(torch)
    y = (x**5).sum()
    for _ in range(3):
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        y = g.sum()
    return g, g.requires_grad


@program
def second_order_through_inplace(torch):
    x = leaf(torch)
    y = x * x
    y[1:3].mul_(x[:2])
    (g,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), x)
    return g, h


@program
def second_order_of_saved_result(torch):
    x = leaf(torch)
    (g,) = torch.autograd.grad((x.exp().tanh()).sum(), x, create_graph=True)
    g.sum().backward()
    return x.grad


@program
def create_graph_backward(torch):
    x = leaf(torch)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        (x**3).sum().backward(create_graph=True)
    assert len(seen) == 1
    g = x.grad
    return g, g.requires_grad


@program
def gradient_penalty(torch):
    x = torch.linspace(-1, 1, 12).view(3, 4).requires_grad_()
    w = torch.linspace(-2, 2, 8).view(4, 2).requires_grad_()
    out = (x @ w).sigmoid().sum()
    (g,) = torch.autograd.grad(out, x, create_graph=True)
    ((g.pow(2).sum(1).sqrt() - 1) ** 2).mean().backward()
    return w.grad


@program
def retain_follows_create(torch):
    x = leaf(torch)
    y = (x * x).sum()
    a = torch.autograd.grad(y, x, create_graph=True)
    b = torch.autograd.grad(y, x)
    return a, b


# --- names and shapes of the graph ----------------------------------------------------------------------------------


@program
def names(torch):
    x, w = leaf(torch), leaf(torch)
    return [
        chain(y.grad_fn)
        for y in (
            x * 2 + w,
            (x - w).exp().sum(),
            x.view(2, 2).t(),
            (x @ w).sqrt(),
            x[1:],
            x[0],
            -x,
            x.mean(),
            x / w,
            x**2,
        )
    ]


@program
def more_names(torch):
    x = leaf(torch).view(2, 2)
    ys = (
        x.relu(),
        x.softmax(0),
        x.sum(0),
        x.mean(1),
        x @ x,
        x.unsqueeze(0),
        x.expand(3, 2, 2),
        x.max(),
        x.abs(),
    )
    return [y.grad_fn.name() for y in ys]


@program
def accumulator_is_unique(torch):
    x = leaf(torch)
    y = x * x
    nodes = [n for n, _ in y.grad_fn.next_functions]
    return nodes[0] is nodes[1], nodes[0].variable is x, nodes[0].name()


@program
def inplace_names(torch):
    x = leaf(torch)
    y = x * 1
    y.add_(1)
    first = chain(y.grad_fn)
    y[1:].mul_(2)
    return first, y.grad_fn.name()


@program
def node_of_multiple_outputs(torch):
    x = leaf(torch) * 1
    a, b = x.chunk(2)
    return a.output_nr, b.output_nr, a.grad_fn.name()


@program
def output_numbers(torch):
    x = leaf(torch) * 1
    parts = x.unbind()
    return [p.output_nr for p in parts], parts[0].grad_fn is parts[1].grad_fn


@program
def leaves(torch):
    x = leaf(torch)
    y = x * 2
    with torch.no_grad():
        z = x * 2
    d = y.detach()
    return [(t.is_leaf, t.requires_grad, t.grad_fn is None) for t in (x, y, z, d, torch.ones(2))]


@program
def base_of_views(torch):
    x = leaf(torch)
    b = x * 1
    v = b[1:][1:]
    return v._base is b, b._base is None, v._is_view(), b._is_view()


@program
def modes(torch):
    x = leaf(torch)
    with torch.no_grad():
        a = x * 2
        with torch.enable_grad():
            b = x * 2
    with torch.set_grad_enabled(False):
        c = x * 2

    @torch.no_grad()
    def f():
        return x * 2

    return [t.requires_grad for t in (a, b, c, f())], torch.is_grad_enabled()


@program
def view_made_without_grad(torch):
    x = leaf(torch)
    with torch.no_grad():
        v = x[1:]
    (v * 2).sum().backward()
    return v.requires_grad, v.is_leaf, x.grad


@error("a view of a leaf Variable that requires grad is being used in an in-place operation.")
def write_to_view_that_became_a_leaf(torch):
    torch.zeros(4)[1:].requires_grad_().add_(1)


@program
def requires_grad_of_leaf(torch):
    x = torch.ones(3)
    x.requires_grad = True
    x.sum().backward()
    x.requires_grad_(False)
    return x.grad, x.requires_grad


@program
def retained(torch):
    x = leaf(torch)
    h = x * 2
    h.retain_grad()
    h.retain_grad()
    (h * h).sum().backward()
    return h.grad, h.retains_grad, x.retains_grad


@program
def retained_after_inplace(torch):
    x = leaf(torch)
    h = x * 2
    h.retain_grad()
    h.mul_(3)
    h.sum().backward()
    return h.grad, x.grad


@error("modified by an inplace operation")
def a_saved_tensor_turned_in_place(torch):
    """What a node saved is the tensor itself: turned, it would give other elements their gradients."""
    y = leaf(torch).view(2, 2) * 2
    z = y.sin()
    y.t_()
    z.sum().backward()


@program
def views_in_place_count_as_writes(torch):
    x = torch.ones(2, 3)
    x[0].unsqueeze_(1)
    y = leaf(torch) * 2
    v = y[:2]
    v.unsqueeze_(0).mul_(3)
    y.sum().backward()
    return x._version, y._version, y, v


@error("a view of a leaf Variable that requires grad is being used in an in-place operation.")
def view_of_leaf_turned_in_place(torch):
    leaf(torch).view(2, 2).t_()


@error("a view of a leaf Variable that requires grad is being used in an in-place operation.")
def view_of_leaf_given_memory(torch):
    leaf(torch)[:2].set_(torch.ones(2))


@error("This view is the output of a function that returns multiple views.")
def one_of_several_views_squeezed_in_place(torch):
    (leaf(torch).view(2, 2) * 2).unbind(0)[0].unsqueeze_(0)


# --- the 1 that backward begins with --------------------------------------------------------------------------------


@program
def gradients_are_nobody_elses(torch):
    """A gradient may be the 1 that the walk began with: what is written to it is not what the next walk begins with."""

    def number():
        return torch.tensor(1.0, requires_grad=True)

    found, kept = [], []
    x, y = number(), number()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x.sum().backward(create_graph=True)
        x.sum().backward()
        found.append(x.grad.clone())
        (x + y).backward(create_graph=True)
    x.grad.data.mul_(3)
    found += [x.grad, y.grad]
    (g,) = torch.autograd.grad(x.sum(), x)
    found.append(g.mul_(5))
    z = number() + 1
    z.register_hook(kept.append)
    z.backward()
    kept[0].mul_(4)
    x, y = number(), number()
    z = x * 2
    z.register_hook(lambda g: g.mul_(3) and None)
    z.backward()
    y.backward(inputs=[y])
    before = y.grad
    y.backward(inputs=[y])
    return *found, x.grad, y.grad, before
