"""Sixteen numbers in one register: a small numba extension for explicit SIMD.

Plain loops over a network's units load and store the units for every input. A vector keeps them
in registers: LLVM maps its sixteen lanes to one 512-bit register, or splits it where the
processor has narrower ones. Indices are not checked and never wrap around.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core import types
from numba.core.datamodel import PrimitiveModel
from numba.core.datamodel import register_default
from numba.extending import intrinsic

__all__ = (
    "LANES",
    "add",
    "broadcast",
    "divide",
    "exponential",
    "fact",
    "gate",
    "hyperbolic_tangent",
    "keep",
    "lane",
    "load",
    "logistic",
    "multiply",
    "multiply_add",
    "pick",
    "positive_part",
    "put",
    "splat",
    "square_root",
    "store",
    "subtract",
    "total",
)

LANES = 16
_FLAGS = ("reassoc", "nsz", "contract", "arcp", "afn")
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_SUFFIX = {types.float32: "f32", types.float64: "f64"}


class _Vector(types.Type):
    """Numba's name for sixteen numbers of one type; it lives only inside compiled functions."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"vector{LANES}x{dtype}")


@register_default(_Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    """A vector is an LLVM vector."""

    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(_ELEMENTS[kind.dtype], LANES))


def _element_pointer(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    return builder.gep(array.data, [args[1]], inbounds=True)


def _vector_pointer(context, builder, signature, args):
    element = _ELEMENTS[signature.args[0].dtype]
    pointer = _element_pointer(context, builder, signature, args)
    return builder.bitcast(pointer, ir.VectorType(element, LANES).as_pointer())


def _bytes(dtype) -> int:
    return int(dtype.bitwidth) // 8


def _spread(builder, value):
    kind = ir.VectorType(value.type, LANES)
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, empty, lanes)


@intrinsic
def load(typing_context, array, index):
    """Sixteen numbers of ``array``, which is contiguous, from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args)
        return builder.load(pointer, align=_bytes(signature.args[0].dtype))

    return _Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing_context, array, index, vector):
    """Write ``vector`` to ``array`` from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args)
        builder.store(args[2], pointer, align=_bytes(signature.args[0].dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def pick(typing_context, array, index):
    """One number of ``array``, with no test of the index."""

    def generate(context, builder, signature, args):
        return builder.load(_element_pointer(context, builder, signature, args))

    return array.dtype(array, types.intp), generate


@intrinsic
def fact(typing_context, array, index):
    """One number of ``array``, which nobody writes while the kernel runs.

    Compilers can't see that writing a weight leaves plans alone, so they would read all facts anew.
    """

    def generate(context, builder, signature, args):
        number = builder.load(_element_pointer(context, builder, signature, args))
        number.set_metadata("invariant.load", builder.module.add_metadata([]))
        return number

    return array.dtype(array, types.intp), generate


@intrinsic
def put(typing_context, array, index, number):
    """Write one number to ``array``, with no test of the index."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        value = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        builder.store(value, pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, number), generate


@intrinsic
def broadcast(typing_context, array, index):
    """One number of ``array`` in all lanes."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        return _spread(builder, builder.load(pointer))

    return _Vector(array.dtype)(array, types.intp), generate


@intrinsic
def lane(typing_context, vector):
    """The first lane of ``vector``."""

    def generate(context, builder, signature, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


@intrinsic
def splat(typing_context, number):
    """``number`` in all lanes."""

    def generate(context, builder, signature, args):
        return _spread(builder, args[0])

    return _Vector(number)(number), generate


def _binary(name: str):
    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(args[0], args[1], flags=_FLAGS)

        return left(left, right), generate

    return operation


add = _binary("fadd")
subtract = _binary("fsub")
multiply = _binary("fmul")
divide = _binary("fdiv")


def _llvm(builder, name, kind, result, arguments):
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = f"v{LANES}{_SUFFIX[kind.dtype]}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=_FLAGS)


@intrinsic
def multiply_add(typing_context, left, right, addend):
    """``left * right + addend``, rounded once."""

    def generate(context, builder, signature, args):
        return _llvm(builder, "fma", signature.return_type, args[0].type, args)

    return left(left, right, addend), generate


@intrinsic
def square_root(typing_context, vector):
    """Square root of each lane."""

    def generate(context, builder, signature, args):
        return _llvm(builder, "sqrt", signature.return_type, args[0].type, args)

    return vector(vector), generate


@intrinsic
def total(typing_context, vector):
    """Sum of the lanes."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(_ELEMENTS[vector.dtype], 0.0)
        return _llvm(builder, "vector.reduce.fadd", vector, zero.type, [zero, args[0]])

    return vector.dtype(vector), generate


# Degree of the Taylor polynomial, clamp, bits of the mantissa, bias of the exponent.
_EXPONENTIAL = {
    types.float32: (6, 87.0, 23, 127),
    types.float64: (13, 708.0, 52, 1023),
}


@intrinsic
def exponential(typing_context, vector):
    """``exp`` of each lane, about as exact as its argument is.

    exp(x) = 2**t with t = x / ln 2: the whole part of t becomes the exponent, and a Taylor
    polynomial gives 2**f for the rest f in +-1/2. Rounding t changes the result as much as rounding
    x would, so its relative error is below ``(2 + abs(x))`` units in the last place. Arguments are
    clamped at +-87 (float32) or +-708 (float64). NaN stays NaN.
    """

    def generate(context, builder, signature, args):
        return _exponential(builder, vector, args[0])

    return vector(vector), generate


def _exponential(builder, vector, x):
    degree, clamp, mantissa, bias = _EXPONENTIAL[vector.dtype]
    kind = x.type
    integer = ir.VectorType(ir.IntType(32 if vector.dtype == types.float32 else 64), LANES)

    def constant(number):
        return ir.Constant(kind, [number] * LANES)

    def fma(a, b, c):
        return _llvm(builder, "fma", vector, kind, [a, b, c])

    t = builder.fmul(x, constant(1.0 / math.log(2.0)))
    for limit, compare in ((clamp, "<"), (-clamp, ">")):
        end = constant(limit / math.log(2.0))
        t = builder.select(builder.fcmp_ordered(compare, end, t), end, t)
    n = _llvm(builder, "roundeven", vector, kind, [t])
    terms = [math.log(2.0) ** k / math.factorial(k) for k in range(degree + 1)]
    power = _estrin(builder, kind, terms, builder.fsub(t, n), fma)
    exponent = builder.add(builder.fptosi(n, integer), ir.Constant(integer, [bias] * LANES))
    shifted = builder.shl(exponent, ir.Constant(integer, [mantissa] * LANES))
    return builder.fmul(power, builder.bitcast(shifted, kind))


def _estrin(builder, kind, coefficients, x, fma):
    """A polynomial by pairs of terms (Estrin's scheme): a chain half as long as Horner's."""
    terms = [ir.Constant(kind, [number] * LANES) for number in coefficients]
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        last = terms[-1:] if len(terms) % 2 else []
        terms = [fma(odd, x, even) for even, odd in pairs] + last
        x = builder.fmul(x, x)
    return terms[0]


# tanh(x) is about x P(x**2) / Q(x**2) for abs(x) <= 8, a least-maximum fit of this project's own
# with a relative error below 7e-9. At 8 it is 0.9999999.
_TANH_LIMIT = 8.0
_TANH_P = (
    0.9999999936102824,
    0.13444508475645087,
    0.003571610281399306,
    2.189485594617743e-05,
    1.5230672693353874e-08,
)
_TANH_Q = (
    1.0,
    0.46777835810077156,
    0.026164490095057853,
    0.00034113117239773524,
    8.522553883070031e-07,
)


@intrinsic
def hyperbolic_tangent(typing_context, vector):
    """``tanh`` of each lane; NaN stays NaN, and 0 stays 0.

    In float32 a rational function, whose one division is done sooner than `exponential`: a small
    network waits for nothing else. Its absolute error is below 4e-7. In float64
    2 / (1 + exp(-2 x)) - 1, with an absolute error below 1e-15.
    """

    def generate(context, builder, signature, args):
        kind = args[0].type
        if vector.dtype == types.float32:
            return _rational_tangent(builder, vector, args[0])
        one, two = (ir.Constant(kind, [number] * LANES) for number in (1.0, 2.0))
        twice = builder.fneg(builder.fmul(two, args[0]))
        power = _exponential(builder, vector, twice)
        return builder.fsub(builder.fdiv(two, builder.fadd(one, power)), one)

    return vector(vector), generate


def _rational_tangent(builder, vector, x):
    kind = x.type

    def fma(*factors):
        return _llvm(builder, "fma", vector, kind, factors)

    for limit, compare in ((_TANH_LIMIT, "<"), (-_TANH_LIMIT, ">")):
        end = ir.Constant(kind, [limit] * LANES)
        x = builder.select(builder.fcmp_ordered(compare, end, x), end, x)
    s = builder.fmul(x, x)
    above, below = (_estrin(builder, kind, terms, s, fma) for terms in (_TANH_P, _TANH_Q))
    return builder.fdiv(builder.fmul(x, above), below)


@intrinsic
def logistic(typing_context, vector):
    """``1 / (1 + exp(-x))`` of each lane; NaN stays NaN.

    In float32 1/2 + tanh(x / 2) / 2, with an absolute error below 3e-7; in float64 as written.
    """

    def generate(context, builder, signature, args):
        kind = args[0].type
        half, one = (ir.Constant(kind, [n] * LANES) for n in (0.5, 1.0))
        if vector.dtype == types.float32:
            tangent = _rational_tangent(builder, vector, builder.fmul(half, args[0], flags=_FLAGS))
            return _llvm(builder, "fma", vector, kind, [half, tangent, half])
        power = _exponential(builder, vector, builder.fneg(args[0]))
        return builder.fdiv(one, builder.fadd(one, power))

    return vector(vector), generate


@intrinsic
def keep(typing_context, vector, count):
    """The first ``count`` lanes, and 0 in the others."""

    def generate(context, builder, signature, args):
        number = ir.IntType(32)
        lanes = ir.Constant(ir.VectorType(number, LANES), list(range(LANES)))
        count = builder.trunc(args[1], number)
        kept = builder.icmp_signed("<", lanes, _spread(builder, count))
        return builder.select(kept, args[0], ir.Constant(args[0].type, [0.0] * LANES))

    return vector(vector, types.intp), generate


@intrinsic
def positive_part(typing_context, vector):
    """Each lane, or 0 where it is below; NaN stays NaN."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(args[0].type, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])

    return vector(vector), generate


@intrinsic
def gate(typing_context, vector, opener):
    """Each lane of ``vector``, or 0 where ``opener`` is not above 0."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(args[0].type, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered(">", args[1], zero), args[0], zero)

    return vector(vector, vector), generate
