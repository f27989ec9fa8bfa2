"""The plain call of an op as a builtin function: look-up of the form, recording, result."""

from __future__ import annotations

from ...device.cpython import ITEMS, SIZE, TYPE, Function, Module
from ...stream.value import Stream, Tensor, Version
from ..record import Form
from .recording import OPERANDS, RESULTS, Offsets, allocated

# The context of an op's builtin is a tuple: the cache of its forms, the Python definition, the kinds of the parameters
# (letters as in generate.LETTERS), their defaults, whether it has a gradient, its entry, what is known of kin forms,
# which parameter is a shape, its check of values or None.
CACHE, PYTHON, LETTERS, DEFAULTS, GRADS, ENTRY, KIN, SIZED, CHECK = (ITEMS + 8 * k for k in range(9))
EQUAL = 2  # Py_EQ


def declare(m: Module, o: dict[type, Offsets]) -> None:
    """All functions of this file."""
    plain_test(m)
    collect(m, o[Tensor])
    parts(m)
    form_of(m)
    interrupted(m)
    op_call(m, o[Stream], o[Form])
    counting(m, o[Tensor], o[Version])
    write_call(m, o)
    results_of(m, o[Form])
    recorders(m)


def plain_test(m: Module) -> None:
    """is_plain(x): a tensor or a parameter, not of another subclass."""
    f = m.function("is_plain", "ip")
    kind = f.load("%a0", TYPE)
    for name in ("Tensor", "Parameter"):
        with f.when(f.test("eq", kind, f.object(name))):
            f.ret(1)
    f.ret(0)
    f.end()


def collect(m: Module, t_: Offsets) -> None:
    """push(tensor or number, operands, counts): one operand more; its metadata or type, borrowed; null: too many.

    counts: how many operands, and the bits of those that require a gradient."""
    f = m.function("push", "pppp")
    a, counts = "%a0", "%a2"
    n = f.load(counts, kind="i64")
    f.jump_if(f.test("sge", n, OPERANDS, "i64"), "odd")
    f.put(a, "%a1", n)
    f.store(f.whole("add", n, 1), counts, kind="i64")
    with f.when(f.test("eq", f.call("is_plain", a), 0, "i64")):
        f.ret(f.load(a, TYPE))
    wanted = f.load(a, t_.rg)
    with f.when(f.test("ne", wanted, f.object("False"))):
        f.jump_if(f.test("ne", wanted, f.object("True")), "odd")
        bit = f.whole("shl", 1, n)
        f.store(f.whole("or", f.load(counts, 8, "i64"), bit), counts, 8, "i64")
    f.ret(f.load(a, t_.meta))
    f.label("odd")
    f.ret("null")
    f.end()


def part_of_key(m: Module) -> None:
    """part(argument, letter, default, operands, counts, held): a new reference, what the argument adds to the key.

    null: a case for Python. held: where the tuple made of a list is kept while its elements are used."""
    f = m.function("part", "ppipppp")
    a, letter, default, operands, counts, held = "%a0", "%a1", "%a2", "%a3", "%a4", "%a5"

    def case(kind: bytes) -> str:
        return f.test("eq", letter, kind[0], "i64")

    def give(x: str) -> None:
        f.jump_if(f.test("eq", x, "null"), "odd")
        f.incref(x)
        f.ret(x)

    with f.when(case(b"s")):
        give(a)
    with f.when(case(b"T")):
        f.jump_if(f.test("eq", f.call("is_plain", a), 0, "i64"), "odd")
        give(f.call("push", a, operands, counts))
    with f.when(case(b"t")):
        either = f.whole("or", f.call("is_plain", a), f.call("is_number", a))
        f.jump_if(f.test("eq", either, 0, "i64"), "odd")
        give(f.call("push", a, operands, counts))
    with f.when(case(b"N")):
        f.jump_if(f.test("eq", f.call("is_number", a), 0, "i64"), "odd")
        give(f.call("push", a, operands, counts))
    none = f.object("None")
    with f.when(case(b"d")):
        with f.when(f.test("eq", a, default)):
            give(none)
        f.jump_if(f.test("eq", f.call("is_number", a), 0, "i64"), "odd")
        same_type = f.test("eq", f.load(a, TYPE), f.load(default, TYPE))
        with (
            f.when(same_type),
            f.when(f.test("eq", f.call("PyObject_RichCompareBool", a, default, EQUAL), 1, "i32")),
        ):
            give(none)
        give(f.call("push", a, operands, counts))
    either = f.value(f"or i1 {case(b'O')}, {case(b'o')}")
    with f.when(either):
        with f.when(f.test("eq", a, none)):
            give(none)
        with f.when(f.both(case(b"o"), f.test("ne", f.call("is_number", a), 0, "i64"))):
            give(f.call("push", a, operands, counts))
        f.jump_if(f.test("eq", f.call("is_plain", a), 0, "i64"), "odd")
        give(f.call("push", a, operands, counts))
    with f.when(case(b"f")):
        kind = f.load(a, TYPE)
        f.incref(kind)
        f.ret(f.call("pair", kind, a))
    f.ret(f.call("metas", a, operands, counts, held))
    f.label("odd")
    f.ret("null")
    f.end()


def parts(m: Module) -> None:
    """The functions that take the arguments of a call apart."""
    list_part(m)
    part_of_key(m)
    values_allowed(m)


def list_part(m: Module) -> None:
    """metas(list or tuple of tensors, operands, counts, held): the tuple of their metadata."""
    f = m.function("metas", "ppppp")
    a, operands, counts, held = (f"%a{i}" for i in range(4))
    kind = f.load(a, TYPE)
    either = f.value(f"or i1 {f.test('eq', kind, f.object('list'))}, {f.test('eq', kind, f.object('tuple'))}")
    f.jump_unless(f.both(either, f.test("eq", f.load(held), "null")), "no")
    items = f.call("PySequence_Tuple", a)
    f.store(items, held)
    count = f.load(items, SIZE, "i64")
    made = f.call("PyTuple_New", count)
    with f.each(count) as i:
        t = f.item(f.at(items, ITEMS), i)
        f.jump_if(f.test("eq", f.call("is_plain", t), 0, "i64"), "odd")
        meta = f.call("push", t, operands, counts)
        f.jump_if(f.test("eq", meta, "null"), "odd")
        f.incref(meta)
        f.put(meta, f.at(made, ITEMS), i)
    f.ret(made)
    f.label("odd")
    f.decref(made)
    f.label("no")
    f.ret("null")
    f.end()


def packed(f: Function, results: str, count: str) -> str:
    """A list of results, their references taken over."""
    made = f.call("PyList_New", count)
    with f.each(count) as k:
        f.put(f.item(results, k), f.load(made, ITEMS), k)
    return made


def to_python(f: Function, context: str, args: str, n: str, held: tuple[str, ...]) -> None:
    """Where the definition in Python takes the call."""
    f.label("odd")
    f.call("PyErr_Clear")
    for p in held:
        f.decref(f.load(p))
    f.ret(f.call("PyObject_Vectorcall", f.load(context, PYTHON), args, n, "null"))
    f.label("failed")
    f.ret("null")


def key_parts(f: Function, context: str, args: str, n: str, to: tuple[str, ...], key_of: str) -> str:
    """The key of the form; what it is made of goes to the operands, their counts and what is held."""
    letters, defaults = f.call("PyBytes_AsString", f.load(context, LETTERS)), f.load(context, DEFAULTS)
    key = f.call("PyTuple_New", n)
    f.store(key, key_of)
    with f.each(n) as i:
        letter = f.value(f"zext i8 {f.load(letters, i, 'i8')} to i64")
        default = f.item(f.at(defaults, ITEMS), i)
        part = f.call("part", f.item(args, i), letter, default, *to)
        f.jump_if(f.test("eq", part, "null"), "odd")
        f.put(part, f.at(key, ITEMS), i)
    return key


def form_of(m: Module) -> None:
    """form_of(context, key): the form of a call, derived from its kin if it is new; None if it has to be traced.

    null, with an exception: a key that cannot be hashed, or what came between."""
    f = m.function("form_of", "ppp")
    known = f.call("PyDict_GetItemWithError", f.load("%a0", CACHE), "%a1")
    with f.when(f.test("ne", known, "null")):
        f.incref(known)
        f.ret(known)
    sized = f.call("PyLong_AsSsize_t", f.load("%a0", SIZED))
    with f.when(f.test("eq", f.call("PyErr_Occurred"), "null")):
        made = f.call("derived", f.load("%a0", CACHE), f.load("%a0", KIN), sized, "%a1")
        with f.when(f.test("ne", made, "null")):
            f.ret(made)
    with f.when(f.test("ne", f.call("PyErr_Occurred"), "null")):
        f.ret("null")
    f.ret(f.invoke(f.object("derived"), f.load("%a0", ENTRY), "%a1"))
    f.end()


def interrupted(m: Module) -> None:
    """interrupted(): whether there is an exception that no definition in Python would meet again (Ctrl-C)."""
    f = m.function("interrupted", "b")
    found = f.call("PyErr_Occurred")
    f.jump_if(f.test("eq", found, "null"), "no")
    ordinary = f.call("PyErr_GivenExceptionMatches", found, f.object("Exception"))
    f.ret(f.test("eq", ordinary, 0, "i32"))
    f.label("no")
    f.ret("false")
    f.end()


def values_allowed(m: Module) -> None:
    """allowed(check or None, arguments, how many): 0, with an exception, if an op refuses the values it is given."""
    f = m.function("allowed", "ippi")
    with f.when(f.test("eq", "%a0", f.object("None"))):
        f.ret(1)
    done = f.call("PyObject_Vectorcall", *("%a0", "%a1", "%a2", "null"))
    with f.when(f.test("eq", done, "null")):
        f.ret(0)
    f.decref(done)
    f.ret(1)
    f.end()


def op_call(m: Module, s_: Offsets, form_: Offsets) -> None:
    """flambeau_op: the builtin of every op that has one, told apart by its context."""
    f = m.function("flambeau_op", "pppi", exported=True)
    context, args, n = "%a0", "%a1", "%a2"
    operands, results = f.var(count=OPERANDS), f.var(count=RESULTS)
    counts, held, form_of, key_of = (
        f.var("i64", count=2),
        f.var("ptr", "null"),
        f.var(first="null"),
        f.var(first="null"),
    )
    f.store("0", counts, kind="i64")
    f.store("0", counts, 8, "i64")
    S = f.call("current")
    f.jump_if(f.test("eq", S, "null"), "failed")
    f.jump_if(f.test("ne", f.load(S, s_.depth), f.object("zero")), "odd")
    key = key_parts(f, context, args, n, (operands, counts, held), key_of)
    form = f.call("form_of", context, key)
    f.jump_if(f.call("interrupted"), "refused")
    f.jump_if(f.test("eq", form, "null"), "odd")
    f.store(form, form_of)
    f.jump_if(f.test("eq", form, f.object("None")), "odd")
    many, needs, code = f.load(counts, kind="i64"), f.load(counts, 8, "i64"), f.var("i64")
    count = f.load(f.load(form, form_.outs), SIZE, "i64")
    structure = f.load(form, form_.structure)
    f.jump_if(f.test("eq", count, 0, "i64"), "odd")
    true, grad = f.object("True"), f.load(S, s_.grad)
    with f.when(f.test("ne", grad, true)):
        f.jump_if(f.test("ne", grad, f.object("False")), "odd")
    f.jump_if(f.test("eq", f.call("allowed", f.load(context, CHECK), args, n), 0, "i64"), "refused")
    with_node = f.both(
        f.test("eq", grad, true),
        f.test("eq", f.load(context, GRADS), true),
        f.test("ne", needs, 0, "i64"),
    )
    with f.when(with_node):
        f.store(f.call("record_node", S, form, operands, many, results, needs), code, kind="i64")
        f.jump("recorded")
    f.store(f.call("record", S, form, operands, many, results), code, kind="i64")
    f.label("recorded")
    done = f.load(code, kind="i64")
    f.jump_if(f.test("eq", done, 1, "i64"), "odd")
    f.decref(key)
    f.decref(f.load(held))
    with f.when(f.test("eq", done, 2, "i64")):
        f.decref(form)
        f.ret("null")
    with f.when(f.test("eq", structure, f.object("None"))):
        f.decref(form)
        f.ret(f.load(results))
    several = packed(f, results, count)
    answer = f.invoke(f.object("structured"), form, several)
    f.decref(several)
    f.decref(form)
    f.ret(answer)
    f.label("refused")
    for p in (key_of, held, form_of):
        f.decref(f.load(p))
    f.ret("null")
    to_python(f, context, args, n, (key_of, held, form_of))
    f.end()


def counting(m: Module, t_: Offsets, v_: Offsets) -> None:
    """counter(tensor): the counter of its writes, made now if it has none, borrowed; null: a case for Python."""
    f = m.function("counter", "pp")
    none, known = f.object("None"), f.load("%a0", t_.ver)
    with f.when(f.test("ne", known, none)):
        f.jump_if(f.test("ne", f.load(known, TYPE), f.object("Version")), "odd")  # writes are not counted
        f.ret(known)
    f.jump_if(f.test("ne", f.load("%a0", t_.gf), none), "odd")  # its node has to know the counter
    made = allocated(f, "Version", (v_.n, f.object("zero")), (v_.where, none))
    f.swap(made, "%a0", t_.ver)
    f.label("out")
    f.ret(made)
    f.label("odd")
    f.ret("null")
    f.end()


def write_call(m: Module, o: dict[type, Offsets]) -> None:
    """flambeau_write: the builtin of the in-place form of every op, where no gradient is to be recorded."""
    s_, t_, v_ = o[Stream], o[Tensor], o[Version]
    f = m.function("flambeau_write", "pppi", exported=True)
    context, args, n = "%a0", "%a1", "%a2"
    operands, results = f.var(count=OPERANDS), f.var(count=RESULTS)
    counts, held, key_of = f.var("i64", count=2), f.var(first="null"), f.var(first="null")
    f.store("0", counts, kind="i64")
    f.store("0", counts, 8, "i64")
    S, t, false = f.call("current"), f.load(args), f.object("False")
    f.jump_if(f.test("eq", S, "null"), "failed")
    f.jump_if(f.test("ne", f.load(S, s_.depth), f.object("zero")), "odd")
    f.jump_if(f.test("eq", f.call("is_plain", t), 0, "i64"), "odd")
    key = key_parts(f, context, args, n, (operands, counts, held), key_of)
    form = f.call("PyDict_GetItemWithError", f.load(context, CACHE), key)
    f.jump_if(f.test("eq", form, "null"), "odd")
    many = f.load(counts, kind="i64")
    with f.when(f.test("ne", f.load(S, s_.grad), false)):
        f.jump_if(f.test("ne", f.load(counts, 8, "i64"), 0, "i64"), "odd")
        view = f.load(t, t_.vw)
        with f.when(f.test("ne", view, f.object("None"))):
            base = f.load(view, ITEMS)
            f.jump_if(f.test("ne", f.load(base, t_.rg), false), "odd")
            f.jump_if(f.test("ne", f.load(t, t_.gf), f.object("None")), "odd")  # a history that is over
    counter = f.call("counter", t)
    f.jump_if(f.test("eq", counter, "null"), "odd")
    f.jump_if(f.test("eq", f.call("allowed", f.load(context, CHECK), args, n), 0, "i64"), "refused")
    for x in (counter, form):
        f.incref(x)
    done = f.call("record", S, form, operands, many, results)
    with f.when(f.test("eq", done, 0, "i64")):
        writes = f.call("PyLong_AsSsize_t", f.load(counter, v_.n))
        f.swap(f.call("PyLong_FromSsize_t", f.whole("add", writes, 1)), counter, v_.n)
    for x in (counter, form):
        f.decref(x)
    f.jump_if(f.test("eq", done, 1, "i64"), "odd")
    f.jump_if(f.test("eq", done, 2, "i64"), "refused")
    f.decref(key)
    f.decref(f.load(held))
    f.incref(t)
    f.ret(t)
    f.label("refused")
    for p in (key_of, held):
        f.decref(f.load(p))
    f.ret("null")
    to_python(f, context, args, n, (key_of, held))
    f.end()


def recorders(m: Module) -> None:
    """flambeau_commit(S, form, operands) and flambeau_record_grad(S, form, operands, needs), operands being a tuple."""
    for name, python, grad in (("commit", "commit", False), ("record_grad", "record_grad", True)):
        f = m.function(f"flambeau_{name}", "pppi", exported=True)
        args, n = "%a1", "%a2"
        results = f.var(count=RESULTS)
        S, form, operands = (f.item(args, i) for i in range(3))
        f.jump_if(f.test("ne", f.load(operands, TYPE), f.object("tuple")), "odd")
        count = f.load(operands, SIZE, "i64")
        given = (S, form, f.at(operands, ITEMS), count, results)
        if grad:
            done = f.call("record_node", *given, f.call("PyLong_AsSsize_t", f.item(args, 3)))
        else:
            done = f.call("record", *given)
        f.jump_if(f.test("eq", done, 1, "i64"), "odd")
        with f.when(f.test("eq", done, 2, "i64")):
            f.ret("null")
        made = f.call("results_of", form, results)
        f.ret(made)
        f.label("odd")
        f.ret(f.call("PyObject_Vectorcall", f.object(f"python {python}"), args, n, "null"))
        f.end()


def results_of(m: Module, form_: Offsets) -> None:
    """results_of(form, results): what `commit` returns: a tensor, a list of them, or ()."""
    f = m.function("results_of", "ppp")
    count = f.load(f.load("%a0", form_.outs), SIZE, "i64")
    with f.when(f.test("eq", count, 1, "i64")):
        f.ret(f.load("%a1"))
    with f.when(f.test("eq", count, 0, "i64")):
        f.ret(f.call("PyTuple_New", 0))
    f.ret(packed(f, "%a1", count))
    f.end()
