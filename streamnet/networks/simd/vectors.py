"""Explicit SIMD for numba: vectors of sixteen numbers, or fewer, held in registers.

Plain loops over a network's units load and store the units for every input. A vector keeps them
in registers: LLVM maps its sixteen lanes to one 512-bit register, or splits it on narrower CPUs.
Here are the vector type, arithmetic on its lanes, and loads and stores, whose indices are unchecked
and never wrap. Exponential and its relatives are in `simd.functions`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Signature, signature
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import PrimitiveModel, register_default

from streamnet.jit import intrinsic

LANES, EIGHT, FOUR = 16, 8, 4
FLAGS = ("reassoc", "nsz", "contract", "arcp", "afn")
ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_SUFFIX = {types.float32: "f32", types.float64: "f64"}


Operation = Callable[..., Any]


class Vector(types.Type):
    """Numba type of a vector; values exist only inside compiled functions."""

    dtype: Any
    lanes: int

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector{lanes}x{dtype}")


@register_default(Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    """Represents a vector as an LLVM vector."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(ELEMENTS[kind.dtype], kind.lanes))


def splat_value(builder: Any, value: Any, lanes: Any) -> Any:
    """Copy a number into ``lanes`` lanes."""
    kind = ir.VectorType(value.type, lanes)
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, empty, zeros)


def call_llvm(builder: Any, name: Any, kind: Any, result: Any, arguments: Any) -> Any:
    """Call the LLVM intrinsic ``name`` for vectors of ``kind``, a `Vector`."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = f"v{kind.lanes}{_SUFFIX[kind.dtype]}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=FLAGS)


def elementwise(write: Callable[..., Any]) -> Operation:
    """An operation of vectors of one type, whose instructions ``write(builder, vector, ...)`` adds.

    ``vector`` is their `Vector`, and what follows their values.
    """

    def operation(typing_context, vector, *others):
        def generate(context, builder, signature, args):
            return write(builder, vector, *args)

        return vector(vector, *others), generate

    parameters = list(signature(write).parameters.values())
    operation.__signature__ = Signature(parameters[:1] + parameters[2:])  # type: ignore[attr-defined]
    operation.__name__, operation.__doc__ = write.__name__, write.__doc__
    return intrinsic(operation)


@intrinsic
def first_lane(typing_context: Any, vector: Any) -> Any:
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
splat: Operation = _make_splat(LANES)
splat_eight: Operation = _make_splat(EIGHT)
splat_two_wide: Operation = _make_splat(2 * LANES)
splat_four_wide: Operation = _make_splat(4 * LANES)


def _make_binary(name: str, flags: tuple[str, ...] = FLAGS):
    def write(builder, _vector, left, right):
        return getattr(builder, name)(left, right, flags=flags)

    return elementwise(write)


add: Operation = _make_binary("fadd")
subtract: Operation = _make_binary("fsub")
multiply: Operation = _make_binary("fmul")
divide: Operation = _make_binary("fdiv")
# Not reassociated: otherwise (a * b) * c with a loop-invariant a * b may be multiplied inside the
# loop. One harmless flag, since numba gives an instruction without flags all of them.
multiply_exact: Operation = _make_binary("fmul", ("nsz",))


@elementwise
def multiply_add(builder: Any, vector: Any, left: Any, right: Any, addend: Any) -> Any:
    """``left * right + addend``, rounded once."""
    return call_llvm(builder, "fma", vector, left.type, [left, right, addend])


@elementwise
def sqrt(builder: Any, vector: Any, x: Any) -> Any:
    """Square root of each lane."""
    return call_llvm(builder, "sqrt", vector, x.type, [x])


@elementwise
def truncate(builder: Any, vector: Any, x: Any) -> Any:
    """Each lane, rounded towards zero."""
    return call_llvm(builder, "trunc", vector, x.type, [x])


class _Estimate(NamedTuple):
    """An instruction that estimates 1 / sqrt(x) with a relative error below 2**-14."""

    feature: str  # of processors that have it
    suffix: str  # of its LLVM name
    bits: int  # of its mask
    steps: int  # of Newton's method that refine it


_ESTIMATES = {
    (types.float32, LANES): _Estimate("+avx512f", "ps.512", 16, 0),
    (types.float64, EIGHT): _Estimate("+avx512f", "pd.512", 8, 2),
}


@intrinsic
def reciprocal_sqrt(typing_context: Any, vector: Any) -> Any:
    """One over the square root of each lane, which must be positive, finite, not subnormal.

    For sixteen float32 it is the processor's estimate, if there is one, with a relative error below
    2**-14: compilers would refine it by four more instructions, a third of all that an optimizer
    needs. For eight float64 it is refined to an error below 1e-15, in a quarter of the time of root
    and quotient. Otherwise it is root and quotient.
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
    """One step of Newton's method for ``1 / sqrt(x)``."""
    half, one = (ir.Constant(x.type, [number] * vector.lanes) for number in (0.5, 1.0))
    rest = call_llvm(
        builder, "fma", vector, x.type, [builder.fneg(builder.fmul(x, root)), root, one]
    )
    return call_llvm(builder, "fma", vector, x.type, [builder.fmul(half, root), rest, root])


@intrinsic
def reduce_add(typing_context: Any, vector: Any) -> Any:
    """Sum of the lanes."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(ELEMENTS[vector.dtype], 0.0)
        return call_llvm(builder, "vector.reduce.fadd", vector, zero.type, [zero, args[0]])

    return vector.dtype(vector), generate


@elementwise
def reduce_add_fours(builder: Any, vector: Any, total: Any) -> Any:
    """Sums of four lanes each, the first four, the next four and so on, in each of their lanes."""
    for distance in (1, 2):
        places = [lane ^ distance for lane in range(vector.lanes)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), places)
        other = builder.shuffle_vector(total, ir.Constant(total.type, ir.Undefined), mask)
        total = builder.fadd(total, other, flags=FLAGS)
    return total


@intrinsic
def keep_first(typing_context: Any, vector: Any, count: Any) -> Any:
    """The first ``count`` lanes, and 0 in the others."""

    def generate(context, builder, signature, args):
        number = ir.IntType(32)
        lanes = ir.Constant(ir.VectorType(number, vector.lanes), list(range(vector.lanes)))
        count = builder.trunc(args[1], number)
        kept = builder.icmp_signed("<", lanes, splat_value(builder, count, vector.lanes))
        return builder.select(kept, args[0], ir.Constant(args[0].type, [0.0] * vector.lanes))

    return vector(vector, types.intp), generate


@elementwise
def maximum(builder: Any, vector: Any, left: Any, right: Any) -> Any:
    """The larger of two lanes; the right one if either is NaN."""
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


@elementwise
def minimum(builder: Any, vector: Any, left: Any, right: Any) -> Any:
    """The smaller of two lanes; the right one if either is NaN."""
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


@elementwise
def positive_part(builder: Any, vector: Any, x: Any) -> Any:
    """Each lane, or 0 where it is below; NaN stays NaN."""
    zero = ir.Constant(x.type, [0.0] * vector.lanes)
    return builder.select(builder.fcmp_ordered("<=", x, zero), zero, x)


@elementwise
def gate(builder: Any, vector: Any, x: Any, opener: Any) -> Any:
    """Each lane of ``x``, or 0 where ``opener`` is not above 0."""
    zero = ir.Constant(x.type, [0.0] * vector.lanes)
    return builder.select(builder.fcmp_ordered(">", opener, zero), x, zero)


_PART_SIZE = 16  # bytes


def _item_size(dtype):
    return dtype.bitwidth // 8


def _element_pointer(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    return builder.gep(array.data, [args[1]], inbounds=True)


def _vector_pointer(context, builder, signature, args, lanes):
    element = ELEMENTS[signature.args[0].dtype]
    pointer = _element_pointer(context, builder, signature, args)
    return builder.bitcast(pointer, ir.VectorType(element, lanes).as_pointer())


def _make_load(lanes: int):
    @intrinsic
    def operation(typing_context, array, index):
        def generate(context, builder, signature, args):
            pointer = _vector_pointer(context, builder, signature, args, lanes)
            return builder.load(pointer, align=_item_size(signature.args[0].dtype))

        return Vector(array.dtype, lanes)(array, types.intp), generate

    return operation


# Load numbers of a contiguous array from an index on.
load: Operation = _make_load(LANES)
load_eight: Operation = _make_load(EIGHT)
load_four: Operation = _make_load(FOUR)


@intrinsic
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write ``vector`` to ``array`` from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args, vector.lanes)
        builder.store(args[2], pointer, align=_item_size(signature.args[0].dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def store_split(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Like `store`, for numbers that are read one by one right afterwards.

    Processors forward a number from a 16-byte store to its reader. From the middle of a longer
    store, some wait until it has reached the cache, as long as a small layer takes.
    """

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        element = ELEMENTS[vector.dtype]
        lanes = _PART_SIZE // _item_size(vector.dtype)
        for first in range(0, vector.lanes, lanes):
            places = list(range(first, first + lanes))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), places)
            part = builder.shuffle_vector(args[2], ir.Constant(args[2].type, ir.Undefined), mask)
            start = builder.gep(pointer, [ir.Constant(ir.IntType(64), first)])
            start = builder.bitcast(start, ir.VectorType(element, lanes).as_pointer())
            builder.store(part, start, align=_item_size(vector.dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def load_one(typing_context: Any, array: Any, index: Any) -> Any:
    """One number of ``array``, with no test of the index."""

    def generate(context, builder, signature, args):
        return builder.load(_element_pointer(context, builder, signature, args))

    return array.dtype(array, types.intp), generate


@intrinsic
def load_constant(typing_context: Any, array: Any, index: Any) -> Any:
    """Load one number of ``array``, which is constant while the kernel runs.

    The compiler cannot know that writing weights leaves plans alone, and would reload them.
    """

    def generate(context, builder, signature, args):
        number = builder.load(_element_pointer(context, builder, signature, args))
        number.set_metadata("invariant.load", builder.module.add_metadata([]))
        return number

    return array.dtype(array, types.intp), generate


@intrinsic
def store_one(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """Write one number to ``array``."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        value = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        builder.store(value, pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, number), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of a number of ``array`` into the nearest cache."""

    def generate(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        pointer = _element_pointer(context, builder, signature, args)
        # To be read, kept in all caches, data.
        hints = [ir.Constant(number, hint) for hint in (0, 3, 1)]
        builder.call(function, [builder.bitcast(pointer, byte), *hints])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def broadcast(typing_context: Any, array: Any, index: Any) -> Any:
    """Load one number of ``array`` into all lanes."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        return splat_value(builder, builder.load(pointer), LANES)

    return Vector(array.dtype, LANES)(array, types.intp), generate


@intrinsic
def load_like(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Load as many numbers of ``array`` as ``vector`` has lanes."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args, vector.lanes)
        return builder.load(pointer, align=_item_size(vector.dtype))

    return vector(array, types.intp, vector), generate


@intrinsic
def broadcast_like(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Load one number of ``array`` into as many lanes as ``vector`` has."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        return splat_value(builder, builder.load(pointer), vector.lanes)

    return vector(array, types.intp, vector), generate
