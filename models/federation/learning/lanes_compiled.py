"""The operations of `lanes` as LLVM's own on <16 x float>."""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

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


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


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
def load(typing: Any, array: Any, at: Any) -> Any:
    """As `lanes.load`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *args), align=4)

    return LANES(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, at: Any, lanes: Any) -> Any:
    """As `lanes.store`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """As `lanes.splat`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], _VECTOR)

    return LANES(types.float32), generate


@intrinsic
def spread(typing: Any, array: Any, at: Any) -> Any:
    """As `lanes.spread`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])), _VECTOR)

    return LANES(array, types.intp), generate


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
