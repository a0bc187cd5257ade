"""The vector type, and arithmetic on its lanes."""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

__all__ = (
    "EIGHT",
    "ELEMENTS",
    "FLAGS",
    "FOUR",
    "LANES",
    "Vector",
    "add",
    "call_llvm",
    "divide",
    "first_lane",
    "gate",
    "item_size",
    "keep_first",
    "maximum",
    "minimum",
    "multiply",
    "multiply_add",
    "multiply_exact",
    "positive_part",
    "reciprocal_sqrt",
    "reduce_add",
    "reduce_add_fours",
    "splat",
    "splat_eight",
    "splat_four_wide",
    "splat_two_wide",
    "splat_value",
    "sqrt",
    "subtract",
    "truncate",
)


LANES, EIGHT, FOUR = 16, 8, 4
FLAGS = ("reassoc", "nsz", "contract", "arcp", "afn")
ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_SUFFIX = {types.float32: "f32", types.float64: "f64"}


class Vector(types.Type):
    """Numba's name for numbers of one type; it lives only inside compiled functions."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector{lanes}x{dtype}")


@register_default(Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    """A vector is an LLVM vector."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(ELEMENTS[kind.dtype], kind.lanes))


def item_size(dtype) -> int:
    """Bytes of a number of this type."""
    return int(dtype.bitwidth) // 8


def splat_value(builder, value, lanes):
    """A number in so many lanes."""
    kind = ir.VectorType(value.type, lanes)
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, empty, zeros)


def call_llvm(builder, name, kind, result, arguments):
    """Call LLVM's own function ``name`` for vectors of ``kind``, a `Vector`."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = f"v{kind.lanes}{_SUFFIX[kind.dtype]}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=FLAGS)


@intrinsic
def first_lane(typing_context, vector):
    """The first lane of ``vector``."""

    def generate(context, builder, signature, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


def _make_splat(lanes: int):
    @intrinsic
    def operation(typing_context, number):
        def generate(context, builder, signature, args):
            return splat_value(builder, args[0], lanes)

        return Vector(number, lanes)(number), generate

    return operation


# One number in all lanes.
splat, splat_eight = _make_splat(LANES), _make_splat(EIGHT)
splat_two_wide, splat_four_wide = _make_splat(2 * LANES), _make_splat(4 * LANES)


def _make_binary(name: str, flags: tuple[str, ...] = FLAGS):
    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(args[0], args[1], flags=flags)

        return left(left, right), generate

    return operation


add = _make_binary("fadd")
subtract = _make_binary("fsub")
multiply = _make_binary("fmul")
divide = _make_binary("fdiv")
# A product that is made where it is written: compilers may take (a * b) * c apart and make a * c in
# each turn of a loop. Without any flags it would be given all of them.
multiply_exact = _make_binary("fmul", ("nsz",))


@intrinsic
def multiply_add(typing_context, left, right, addend):
    """``left * right + addend``, rounded once."""

    def generate(context, builder, signature, args):
        return call_llvm(builder, "fma", signature.return_type, args[0].type, args)

    return left(left, right, addend), generate


def _make_unary(name: str):
    @intrinsic
    def operation(typing_context, vector):
        def generate(context, builder, signature, args):
            return call_llvm(builder, name, vector, args[0].type, args)

        return vector(vector), generate

    return operation


sqrt = _make_unary("sqrt")
truncate = _make_unary("trunc")  # without what is behind the point


class _Estimate(NamedTuple):
    """An instruction that estimates one over the square root, wrong by less than 2**-14."""

    feature: str  # of the processors that have it
    suffix: str  # of LLVM's name for it
    bits: int  # of its mask
    steps: int  # of Newton's method that make it better


_ESTIMATES = {
    (types.float32, LANES): _Estimate("+avx512f", "ps.512", 16, 0),
    (types.float64, EIGHT): _Estimate("+avx512f", "pd.512", 8, 2),
}


@intrinsic
def reciprocal_sqrt(typing_context, vector):
    """One over the square root of each lane, which must be positive, finite, not subnormal.

    Of sixteen float32 it is the processor's estimate as it is, where there is one, with a relative
    error below 2**-14: compilers would make it better by a step of four more instructions, a third
    of all that an optimizer needs. Of eight float64 it is made better until the error is below
    1e-15, in a quarter of the time of root and quotient. Elsewhere it is as exact as compilers make
    it.
    """

    def generate(context, builder, signature, args):
        estimate = _ESTIMATES.get((vector.dtype, vector.lanes))
        if estimate and estimate.feature in context.codegen().magic_tuple()[2].split(","):
            root = _estimate(builder, args[0], estimate)
            for _ in range(estimate.steps):
                root = _newton_step(builder, vector, args[0], root)
            return root
        one = ir.Constant(args[0].type, [1.0] * vector.lanes)
        root = call_llvm(builder, "sqrt", vector, args[0].type, args)
        return builder.fdiv(one, root, flags=FLAGS)

    return vector(vector), generate


def _estimate(builder, x, estimate):
    nothing = ir.Constant(x.type, [0.0] * x.type.count)
    arguments = [x, nothing, ir.IntType(estimate.bits)(-1)]
    kind = ir.FunctionType(x.type, [argument.type for argument in arguments])
    name = f"llvm.x86.avx512.rsqrt14.{estimate.suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _newton_step(builder, vector, x, root):
    """A step of Newton's method for ``1 / sqrt(x)``."""
    half, one = (ir.Constant(x.type, [number] * vector.lanes) for number in (0.5, 1.0))
    rest = call_llvm(
        builder, "fma", vector, x.type, [builder.fneg(builder.fmul(x, root)), root, one]
    )
    return call_llvm(builder, "fma", vector, x.type, [builder.fmul(half, root), rest, root])


@intrinsic
def reduce_add(typing_context, vector):
    """Sum of the lanes."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(ELEMENTS[vector.dtype], 0.0)
        return call_llvm(builder, "vector.reduce.fadd", vector, zero.type, [zero, args[0]])

    return vector.dtype(vector), generate


@intrinsic
def reduce_add_fours(typing_context, vector):
    """In each lane the sum of the four lanes that it is one of: the first four, the next four."""

    def generate(context, builder, signature, args):
        total = args[0]
        for distance in (1, 2):
            places = [lane ^ distance for lane in range(vector.lanes)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), places)
            other = builder.shuffle_vector(total, ir.Constant(total.type, ir.Undefined), mask)
            total = builder.fadd(total, other, flags=FLAGS)
        return total

    return vector(vector), generate


@intrinsic
def keep_first(typing_context, vector, count):
    """The first ``count`` lanes, and 0 in the others."""

    def generate(context, builder, signature, args):
        number = ir.IntType(32)
        lanes = ir.Constant(ir.VectorType(number, vector.lanes), list(range(vector.lanes)))
        count = builder.trunc(args[1], number)
        kept = builder.icmp_signed("<", lanes, splat_value(builder, count, vector.lanes))
        return builder.select(kept, args[0], ir.Constant(args[0].type, [0.0] * vector.lanes))

    return vector(vector, types.intp), generate


def _make_choice(compare: str):
    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, args):
            chosen = builder.fcmp_ordered(compare, args[0], args[1])
            return builder.select(chosen, args[0], args[1])

        return left(left, right), generate

    return operation


# The larger one in each lane, or the smaller one; the right one where one of them is NaN.
maximum, minimum = _make_choice(">"), _make_choice("<")


@intrinsic
def positive_part(typing_context, vector):
    """Each lane, or 0 where it is below; NaN stays NaN."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(args[0].type, [0.0] * vector.lanes)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[0])

    return vector(vector), generate


@intrinsic
def gate(typing_context, vector, opener):
    """Each lane of ``vector``, or 0 where ``opener`` is not above 0."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(args[0].type, [0.0] * vector.lanes)
        return builder.select(builder.fcmp_ordered(">", args[1], zero), args[0], zero)

    return vector(vector, vector), generate
