"""The operations of `lanes` as LLVM's own on <16 x float>."""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

_types: Any = types  # its stubs differ from version to version
_COUNT = 16
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS = ir.VectorType(_FLOAT, _COUNT), ir.VectorType(_INT, _COUNT)


class Lanes(types.Type):
    """Numba type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes16")


LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _address(builder: Any, numbers: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(numbers, [at]), _VECTOR.as_pointer())


def _constant(value: Any) -> Any:
    return ir.Constant(_VECTOR, [value] * _COUNT)


def _spread(builder: Any, value: Any, kind: Any) -> Any:
    """One value in all lanes."""
    nothing = ir.Constant(kind, ir.Undefined)
    start = builder.insert_element(nothing, value, _INT(0))
    return builder.shuffle_vector(start, nothing, ir.Constant(_INTEGERS, [0] * _COUNT))


def _halves(builder: Any, vector: Any) -> tuple[Any, Any]:
    """The lower and the upper half of a vector."""
    width = vector.type.count
    nothing = ir.Constant(vector.type, ir.Undefined)
    kind = ir.VectorType(_INT, width // 2)
    chosen = [list(range(width // 2)), list(range(width // 2, width))]
    low, high = (
        builder.shuffle_vector(vector, nothing, ir.Constant(kind, places)) for places in chosen
    )
    return low, high


@intrinsic
def pointer(typing: Any, array: Any) -> Any:
    """As `lanes.pointer`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return _types.CPointer(array.dtype)(array), generate


@intrinsic
def further(typing: Any, numbers: Any, count: Any) -> Any:
    """As `lanes.further`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return numbers(numbers, types.intp), generate


@intrinsic
def load(typing: Any, numbers: Any, at: Any) -> Any:
    """As `lanes.load`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(builder, *args), align=4)

    return LANES(numbers, types.intp), generate


@intrinsic
def store(typing: Any, numbers: Any, at: Any, lanes: Any) -> Any:
    """As `lanes.store`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(builder, *args[:2])
        builder.store(args[2], address, align=4)
        return context.get_dummy_value()

    return types.void(numbers, types.intp, LANES), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """As `lanes.splat`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], _VECTOR)

    return LANES(types.float32), generate


@intrinsic
def spread(typing: Any, numbers: Any, at: Any) -> Any:
    """As `lanes.spread`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread_from(builder, *args)

    return LANES(numbers, types.intp), generate


@intrinsic
def first(typing: Any, lanes: Any, count: Any, other: Any) -> Any:
    """As `lanes.first`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = ir.Constant(_INTEGERS, list(range(_COUNT)))
        limit = _spread(builder, builder.trunc(args[1], _INT), _INTEGERS)
        inside = builder.icmp_signed("<", places, limit)
        return builder.select(inside, args[0], _spread(builder, args[2], _VECTOR))

    return LANES(LANES, types.intp, types.float32), generate


@intrinsic
def minus_one_at(typing: Any, lanes: Any, place: Any) -> Any:
    """As `lanes.minus_one_at`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = ir.Constant(_INTEGERS, list(range(_COUNT)))
        wanted = _spread(builder, builder.trunc(args[1], _INT), _INTEGERS)
        less = builder.fsub(args[0], _constant(1.0))
        return builder.select(builder.icmp_signed("==", places, wanted), less, args[0])

    return LANES(LANES, types.intp), generate


@intrinsic
def where_positive(typing: Any, signs: Any, lanes: Any) -> Any:
    """As `lanes.where_positive`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], _constant(0.0))
        return builder.select(above, args[1], _constant(0.0))

    return LANES(LANES, LANES), generate


@intrinsic
def not_below(typing: Any, lanes: Any, limit: Any) -> Any:
    """As `lanes.not_below`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bound = _spread(builder, args[1], _VECTOR)
        return builder.select(builder.fcmp_ordered("<", args[0], bound), bound, args[0])

    return LANES(LANES, types.float32), generate


@intrinsic
def power_of_two(typing: Any, shifted: Any) -> Any:
    """As `lanes.power_of_two`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], _INTEGERS)
        moved = builder.shl(bits, ir.Constant(_INTEGERS, [23] * _COUNT))
        biased = builder.add(moved, ir.Constant(_INTEGERS, [127 << 23] * _COUNT))
        return builder.bitcast(biased, _VECTOR)

    return LANES(LANES), generate


@intrinsic
def divide(typing: Any, value: Any, lanes: Any) -> Any:
    """As `lanes.divide`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(_spread(builder, args[0], _VECTOR), args[1])

    return LANES(types.float32, LANES), generate


@intrinsic
def binade(typing: Any, lanes: Any, least: Any) -> Any:
    """As `lanes.binade`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.sub(*_bits(builder, args))
        moved = builder.ashr(bits, ir.Constant(_INTEGERS, [23] * _COUNT))
        return builder.sitofp(moved, _VECTOR)

    return LANES(LANES, types.int64), generate


@intrinsic
def mantissa(typing: Any, lanes: Any, least: Any) -> Any:
    """As `lanes.mantissa`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, bound = _bits(builder, args)
        kept = builder.and_(builder.sub(bits, bound), ir.Constant(_INTEGERS, [0x7FFFFF] * _COUNT))
        return builder.bitcast(builder.add(kept, bound), _VECTOR)

    return LANES(LANES, types.int64), generate


def _bits(builder: Any, args: Any) -> tuple[Any, Any]:
    """The bits of lanes, and an integer in all lanes."""
    bound = _spread(builder, builder.trunc(args[1], _INT), _INTEGERS)
    return builder.bitcast(args[0], _INTEGERS), bound


@intrinsic
def prefetch(typing: Any, numbers: Any, at: Any) -> Any:
    """As `lanes.prefetch`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        fetch = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        builder.call(fetch, [place, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(numbers, types.intp), generate


@intrinsic
def total(typing: Any, lanes: Any) -> Any:
    """As `lanes.total`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0]
        while vector.type.count > 2:
            vector = builder.fadd(*_halves(builder, vector))
        low, high = (builder.extract_element(vector, _INT(place)) for place in (0, 1))
        return builder.fadd(low, high)

    return types.float32(LANES), generate


@intrinsic
def largest(typing: Any, lanes: Any) -> Any:
    """As `lanes.largest`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0]
        while vector.type.count > 2:
            low, high = _halves(builder, vector)
            vector = builder.select(builder.fcmp_ordered(">", high, low), high, low)
        low, high = (builder.extract_element(vector, _INT(place)) for place in (0, 1))
        return builder.select(builder.fcmp_ordered(">", high, low), high, low)

    return types.float32(LANES), generate


def _members(builder: Any, group: Any, kind: Any) -> list[Any]:
    """The values of a homogeneous tuple."""
    return [builder.extract_value(group, k) for k in range(kind.count)]


def _spread_from(builder: Any, numbers: Any, at: Any) -> Any:
    return _spread(builder, builder.load(builder.gep(numbers, [at])), _VECTOR)


@intrinsic
def places(typing: Any, at: Any, start: Any, group: Any) -> Any:
    """As `lanes.places`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        begin = builder.gep(args[0], [args[1]])
        found = [
            builder.load(builder.gep(begin, [ir.Constant(args[1].type, k)]))
            for k in range(group.count)
        ]
        return context.make_tuple(builder, signature.return_type, found)

    return _types.UniTuple(types.int64, group.count)(at, types.intp, group), generate


@intrinsic
def load_rows(typing: Any, numbers: Any, start: Any, width: Any, group: Any) -> Any:
    """As `lanes.load_rows`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found, at = [], args[1]
        for _ in range(group.count):
            address = _address(builder, args[0], at)
            found.append(builder.load(address, align=4))
            at = builder.add(at, args[2])
        return context.make_tuple(builder, signature.return_type, found)

    kinds = (numbers, types.intp, types.intp, group)
    return _types.UniTuple(LANES, group.count)(*kinds), generate


@intrinsic
def store_rows(typing: Any, numbers: Any, start: Any, width: Any, rows: Any) -> Any:
    """As `lanes.store_rows`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = args[1]
        for row in _members(builder, args[3], signature.args[3]):
            builder.store(row, _address(builder, args[0], at), align=4)
            at = builder.add(at, args[2])
        return context.get_dummy_value()

    return types.void(numbers, types.intp, types.intp, rows), generate


@intrinsic
def repeat(typing: Any, lanes: Any, group: Any) -> Any:
    """As `lanes.repeat`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [args[0]] * group.count)

    return _types.UniTuple(LANES, group.count)(LANES, group), generate


@intrinsic
def add_to_each(typing: Any, sums: Any, row: Any, x: Any, starts: Any, f: Any) -> Any:
    """As `lanes.add_to_each`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = []
        begun = _members(builder, args[0], signature.args[0])
        for so_far, start in zip(begun, _members(builder, args[3], signature.args[3]), strict=True):
            at = builder.add(start, args[4])
            factor = _spread_from(builder, args[2], at)
            found.append(builder.fadd(so_far, builder.fmul(args[1], factor)))
        return context.make_tuple(builder, signature.return_type, found)

    return sums(sums, LANES, x, starts, types.intp), generate


@intrinsic
def add_products(typing: Any, sums: Any, rows: Any, x: Any, starts: Any, f: Any) -> Any:
    """As `lanes.add_products`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _members(builder, args[0], signature.args[0])
        rows = _members(builder, args[1], signature.args[1])
        for row, start in zip(rows, _members(builder, args[3], signature.args[3]), strict=True):
            begin = builder.gep(args[2], [builder.add(start, args[4])])
            for k, so_far in enumerate(found):
                factor = _spread_from(builder, begin, ir.Constant(args[4].type, k))
                found[k] = builder.fadd(so_far, builder.fmul(row, factor))
        return context.make_tuple(builder, signature.return_type, found)

    return sums(sums, rows, x, starts, types.intp), generate


@intrinsic
def stepped(typing: Any, rows: Any, gradients: Any, share: Any, lr: Any) -> Any:
    """As `lanes.stepped`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, gradients = (_members(builder, args[k], signature.args[k]) for k in (0, 1))
        share, lr = (_spread(builder, args[k], _VECTOR) for k in (2, 3))
        found = [
            builder.fsub(row, builder.fmul(lr, builder.fmul(gradient, share)))
            for row, gradient in zip(rows, gradients, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, found)

    return rows(rows, gradients, types.float32, types.float32), generate


@intrinsic
def _add(typing: Any, a: Any, b: Any) -> Any:
    return LANES(LANES, LANES), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def _subtract(typing: Any, a: Any, b: Any) -> Any:
    return LANES(LANES, LANES), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def _multiply(typing: Any, a: Any, b: Any) -> Any:
    return LANES(LANES, LANES), lambda context, builder, signature, args: builder.fmul(*args)


def _both(a: Any, b: Any) -> bool:
    return isinstance(a, Lanes) and isinstance(b, Lanes)


# No annotations below: Numba wants them equal to those of the lambdas.


@overload(operator.add)
def _plus(a, b):
    return (lambda a, b: _add(a, b)) if _both(a, b) else None


@overload(operator.sub)
def _minus(a, b):
    return (lambda a, b: _subtract(a, b)) if _both(a, b) else None


@overload(operator.mul)
def _times(a, b):
    return (lambda a, b: _multiply(a, b)) if _both(a, b) else None
