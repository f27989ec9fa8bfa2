"""Loads and stores: of one element, of vectors, masked, reversed, gathered and scattered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import cast

from ..loop import ir
from .function import Buffer, Function
from .types import Value, constant, llvm_type

LINE = 64  # bytes of a cache line; blocks of memory begin at one


class Memory(Function):
    """A Function that can load and store; `value` is given by the emitter of expressions."""

    buffers: dict[str, Buffer]
    around: AbstractSet[ir.Store] = frozenset()  # stores that go around the caches

    def around_tag(self) -> str:
        """The mark of such a store."""
        raise NotImplementedError

    def value(self, e: ir.Expr) -> Value:
        """The value of an expression."""
        raise NotImplementedError

    def _address(self, buffer: Buffer, index: str | int) -> str:
        return self.moved(buffer.memory, buffer.base, index)

    def _lanes(self, buffer: Buffer, v: Value) -> str:
        """A vector of addresses; a constant stride is a scalar base and constant offsets, which selects best."""
        width = self.width
        if v.width and v.step is not None:
            base = self._address(buffer, v.text)
            index = self.spread(Value(0, "i64", width, v.step), width)
        else:
            base, index = buffer.base, self.at(v, width)
        return self.line(f"getelementptr {buffer.memory}, ptr {base}, <{width} x i64> {index}")

    def _active(self, buffer: Buffer, index: Value, mask: ir.Expr | None) -> str:
        """The mask of the active lanes for which `mask` holds; "" if all, or if the others do no harm."""
        if mask is None:
            return "" if buffer.loose and index.step == 1 else self.mask
        own = self.at(self.value(mask), self.width)
        if not self.mask:
            return own
        t = llvm_type("b1", self.width)
        return self.line(f"and {t} {own}, {self.mask}")

    def load(self, e: ir.Load) -> Value:
        """Emit a load."""
        buffer = self.buffers[e.buf]
        index = self.value(e.index)
        mask = None if e.mask is None else self.value(e.mask)
        if mask is not None and not mask.width and mask.text in ("true", "false"):
            if mask.text == "false":
                return Value(constant(e.type, 0), e.type)
            mask = None
        if not index.width:
            return self._load_one(buffer, index, mask, e)
        active = self._active(buffer, index, None if mask is None else e.mask)
        type, width = f"<{self.width} x {buffer.memory}>", self.width
        align = f"align {ir.SIZE[buffer.type]}"
        if index.step == 1 or index.step == -1:
            shift = 0 if index.step == 1 else 1 - width
            pointer = self._address(buffer, self.arithmetic("add", index.text, shift))
            if index.step == -1 and active:
                active = self._reverse(active, f"<{width} x i1>")
            if not active:
                text = self.line(f"load {type}, ptr {pointer}, {align}{buffer.tag}")
            elif mask is None and index.step == 1 and self._by_copy(buffer):
                text = self._load_by_copy(type, buffer, pointer)
            else:
                text = self._masked(
                    "load", type, buffer, [f"ptr {align} {pointer}", f"<{width} x i1> {active}"]
                )
            if index.step == -1:
                text = self._reverse(text, type)
        elif self._close(index.step, buffer, active):
            text = self._every(cast(int, index.step), type, buffer, index, active)
        elif not active:
            text = self._apart(type, buffer, index)
        else:
            pointers = self._lanes(buffer, index)
            active = active or "splat (i1 true)"
            operands = [f"<{width} x ptr> {align} {pointers}", f"<{width} x i1> {active}"]
            text = self._masked("gather", type, buffer, operands)
        return Value(self._from_memory(text, buffer.type, width), buffer.type, width)

    def _close(self, step: str | int | None, buffer: Buffer, active: str) -> bool:
        """Whether elements lie so close that vectors of all between them cost less than one after the other."""
        return isinstance(step, int) and 2 <= step <= 4 and (not active or self._masks(buffer))

    def _pieces(self, step: int, buffer: Buffer, index: Value, active: str) -> Iterator[tuple[int, str, str]]:
        """Vectors of all from the first lane's element on: (where it starts, address, mask of active lanes' elements).
        The last one ends with the last lane's element."""
        width, last = self.width, (self.width - 1) * (step - 1)
        for start in [min(k * width, last) for k in range(step)]:
            mask = active
            if active:
                here = [at // step if at % step == 0 else width for at in range(start, start + width)]
                mask = self._picked(f"<{width} x i1>", active, "zeroinitializer", here)
            yield start, self._address(buffer, self.arithmetic("add", index.text, start)), mask

    def _every(self, step: int, type: str, buffer: Buffer, index: Value, active: str) -> str:
        """Every `step`-th element, picked out of vector loads."""
        width, align, result, ended = self.width, f"align {ir.SIZE[buffer.type]}", "", 0
        for k, (start, pointer, mask) in enumerate(self._pieces(step, buffer, index, active)):
            if mask:
                operands = [f"ptr {align} {pointer}", f"<{width} x i1> {mask}"]
                piece = self._masked("load", type, buffer, operands)
            else:
                piece = self.line(f"load {type}, ptr {pointer}, {align}{buffer.tag}")
            if k:
                order = []
                for lane, at in enumerate(range(0, width * step, step)):
                    if at >= ended:  # not in the pieces so far
                        order.append(width + min(at - start, width - 1))
                    else:
                        order.append(at if k == 1 else lane)
                piece = self._picked(type, result, piece, order)
            result, ended = piece, start + width
        return result

    def _store_every(
        self, step: int, type: str, text: str, buffer: Buffer, index: Value, active: str
    ) -> None:
        name, width = self._intrinsic("store", buffer), self.width
        for start, pointer, mask in self._pieces(step, buffer, index, active):
            piece = self._picked(type, text, "poison", [at // step for at in range(start, start + width)])
            where = f"ptr align {ir.SIZE[buffer.type]} {pointer}"
            self.out.append(
                f"  call void @{name}({type} {piece}, {where}, <{width} x i1> {mask}){buffer.tag}"
            )

    def _picked(self, type: str, a: str, b: str, order: Sequence[int]) -> str:
        lanes = ", ".join(f"i32 {k}" for k in order)
        return self.line(f"shufflevector {type} {a}, {type} {b}, <{len(order)} x i32> <{lanes}>")

    def _apart(self, type: str, buffer: Buffer, index: Value) -> str:
        """Elements one after the other: a gather takes two to ten times as long."""
        result, align = "poison", f"align {ir.SIZE[buffer.type]}{buffer.tag}"
        for lane, pointer in enumerate(self._places(buffer, index)):
            one = self.line(f"load {buffer.memory}, ptr {pointer}, {align}")
            result = self.line(f"insertelement {type} {result}, {buffer.memory} {one}, i32 {lane}")
        return result

    def _store_apart(self, type: str, text: str, buffer: Buffer, index: Value) -> None:
        align = f"align {ir.SIZE[buffer.type]}{buffer.tag}"
        for lane, pointer in enumerate(self._places(buffer, index)):
            one = self.line(f"extractelement {type} {text}, i32 {lane}")
            self.out.append(f"  store {buffer.memory} {one}, ptr {pointer}, {align}")

    def _places(self, buffer: Buffer, index: Value) -> Iterator[str]:
        """The address of each lane; of lanes evenly apart, made of the one before: all at once would not fit."""
        if index.step is None:
            for lane in range(self.width):
                one = self.line(f"extractelement <{self.width} x i64> {index.text}, i32 {lane}")
                yield self._address(buffer, one)
            return
        pointer = self._address(buffer, index.text)
        for lane in range(self.width):
            if lane:
                pointer = self.line(f"getelementptr {buffer.memory}, ptr {pointer}, i64 {index.step}")
            yield pointer

    def rows(self, buffer: Buffer, index: Value, mask: str) -> list[str]:
        """For each lane the `width` elements from where `index` is on; zeros, not read, where the mask is false."""
        assert index.step is not None
        type, align = f"<{self.width} x {buffer.memory}>", f"align {ir.SIZE[buffer.type]}"
        found = []
        for lane, pointer in enumerate(self._places(buffer, index)):
            if not mask:
                found.append(self.line(f"load {type}, ptr {pointer}, {align}{buffer.tag}"))
                continue
            bits = f"<{self.width} x i1>"
            one = self.line(f"extractelement {bits} {mask}, i32 {lane}")
            active = self.spread(Value(one, "b1"), self.width)
            operands = [f"ptr {align} {pointer}", f"{bits} {active}"]
            found.append(self._masked("load", type, buffer, operands))
        return found

    def _masks(self, buffer: Buffer) -> bool:
        """Whether the processor has masks: else LLVM spells them out, a block per lane."""
        return self.target.avx512 or (self.target.vector_bits == 256 and ir.SIZE[buffer.type] >= 4)

    def _by_copy(self, buffer: Buffer) -> bool:
        """Whether the last round copies elements."""
        return bool(self.rest) and not self._masks(buffer)

    def _load_by_copy(self, type: str, buffer: Buffer, pointer: str) -> str:
        place = self.scratch(type)
        self.out.append(f"  store {type} zeroinitializer, ptr {place}")
        self._copy(buffer, place, pointer)
        return self.line(f"load {type}, ptr {place}")

    def _copy(self, buffer: Buffer, to: str, source: str, each: int = 1) -> None:
        name = f"flambeau.copy.i{8 * ir.SIZE[buffer.type]}"
        self.needed.add(name)
        count = self.arithmetic("mul", self.rest, each)
        self.out.append(f"  call void @{name}(ptr {to}, ptr {source}, i64 {count})")

    def _reverse(self, text: str, type: str) -> str:
        return self._picked(type, text, "poison", range(self.width)[::-1])

    def _masked(self, what: str, type: str, buffer: Buffer, operands: list[str], width: int = 0) -> str:
        """Call llvm.masked.load or gather, inactive lanes zero."""
        name = self._intrinsic(what, buffer, width)
        return self.line(f"call {type} @{name}({', '.join(operands)}, {type} zeroinitializer){buffer.tag}")

    def _intrinsic(self, what: str, buffer: Buffer, width: int = 0) -> str:
        width, vectors = width or self.width, what in ("gather", "scatter")
        element = buffer.type if buffer.type in ("f32", "f64") else buffer.memory
        return f"llvm.masked.{what}.v{width}{element}.{f'v{width}p0' if vectors else 'p0'}"

    def _from_memory(self, text: str, type: str, width: int) -> str:
        if type != "b1":
            return text
        t = f"<{width} x i8>" if width else "i8"
        return self.line(f"icmp ne {t} {text}, {'zeroinitializer' if width else 0}")

    def _load_one(self, buffer: Buffer, index: Value, mask: Value | None, e: ir.Load) -> Value:
        """A load of one element: unconditional, or only if the mask (for any active lane) holds."""
        t = buffer.memory

        def load() -> str:
            pointer = self._address(buffer, index.text)
            return self.line(f"load {t}, ptr {pointer}, align {ir.SIZE[buffer.type]}{buffer.tag}")

        if mask is None:
            return Value(self._from_memory(load(), buffer.type, 0), buffer.type)
        if not mask.width:
            text = self._guarded(str(mask.text), load, t)
            return Value(self._from_memory(text, buffer.type, 0), buffer.type)
        width = self.width
        active = self._active(buffer, index, e.mask)
        text = self._from_memory(self._guarded(self.any(active), load, t), buffer.type, 0)
        vector, vt = self.spread(Value(text, buffer.type), width), llvm_type(buffer.type, width)
        text = self.line(f"select <{width} x i1> {active}, {vt} {vector}, {vt} zeroinitializer")
        return Value(text, buffer.type, width)

    def any(self, mask: str) -> str:
        """Whether a mask has an active lane."""
        t = f"<{self.width} x i1>"
        return self.operations.call(f"llvm.vector.reduce.or.v{self.width}i1", "i1", [(t, mask)])

    def _guarded(self, cond: str, load: Callable[[], str], type: str) -> str:
        before = self.label
        yes, join = self.labels(2)
        self.branch(cond, yes, join)
        self.block(yes)
        self.enter()
        value = load()
        self.leave()
        self.jump(join)
        self.block(join)
        zero = "0.0" if type in ("float", "double") else "0"
        return self.line(f"phi {type} [ {zero}, %{before} ], [ {value}, %{yes} ]")

    def store(self, s: ir.Store) -> None:
        """Emit a store."""
        buffer = self.buffers[s.buf]
        index, value = self.value(s.index), self.value(s.value)
        mask = None if s.mask is None else self.value(s.mask)
        if mask is not None and mask.text in ("true", "false"):
            if mask.text == "false":
                return
            mask = None
        width = self.width
        scalar = not index.width and not value.width and (mask is None or not mask.width)
        text = self.at(value, 0 if scalar else width)
        if buffer.type == "b1":
            t = "i1" if scalar else f"<{width} x i1>"
            text = self.line(f"zext {t} {text} to {t.replace('i1', 'i8')}")
        align = f"align {ir.SIZE[buffer.type]}"
        if scalar:
            self._store_one(buffer, index, text, mask, align)
            return
        active = self._active(buffer, index, None if mask is None else s.mask)
        type = f"<{width} x {buffer.memory}>"
        if index.width and index.step in (1, -1):
            pointer = self._address(
                buffer, self.arithmetic("add", index.text, 0 if index.step == 1 else 1 - width)
            )
            if index.step == -1:
                text = self._reverse(text, type)
                active = active and self._reverse(active, f"<{width} x i1>")
            if not active:
                if s in self.around:
                    align = f"align {LINE}{self.around_tag()}"
                self.out.append(f"  store {type} {text}, ptr {pointer}, {align}{buffer.tag}")
                return
            if mask is None and index.step == 1 and self._by_copy(buffer):
                place = self.scratch(type)
                self.out.append(f"  store {type} {text}, ptr {place}")
                self._copy(buffer, pointer, place)
                return
            name, address = self._intrinsic("store", buffer), f"ptr {align} {pointer}"
        elif active and self._close(index.step, buffer, active):
            self._store_every(cast(int, index.step), type, text, buffer, index, active)
            return
        elif not active and index.step is not None:
            self._store_apart(type, text, buffer, index)
            return
        else:
            address = f"<{width} x ptr> {align} {self._lanes(buffer, index)}"
            name, active = self._intrinsic("scatter", buffer), active or "splat (i1 true)"
        self.out.append(f"  call void @{name}({type} {text}, {address}, <{width} x i1> {active}){buffer.tag}")

    def _store_one(self, buffer: Buffer, index: Value, text: str, mask: Value | None, align: str) -> None:
        join = ""
        if mask is not None:
            yes, join = self.labels(2)
            self.branch(str(mask.text), yes, join)
            self.block(yes)
            self.enter()
        pointer = self._address(buffer, index.text)
        self.out.append(f"  store {buffer.memory} {text}, ptr {pointer}, {align}{buffer.tag}")
        if join:
            self.leave()
            self.jump(join)
            self.block(join)
