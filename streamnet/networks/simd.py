"""Sixteen numbers in one register, or four: a small numba extension for explicit SIMD.

Plain loops over a network's units load and store the units for every input. A vector keeps them
in registers: LLVM maps its sixteen lanes to one 512-bit register, or splits it where the
processor has narrower ones. Indices are not checked and never wrap around. Functions of vectors are
in `simd_functions`.
"""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils
from numba.core import types
from numba.core.datamodel import PrimitiveModel
from numba.core.datamodel import register_default
from numba.extending import intrinsic

__all__ = (
    "FLAGS",
    "FOUR",
    "LANES",
    "add",
    "broadcast",
    "divide",
    "fact",
    "gate",
    "keep",
    "lane",
    "larger",
    "llvm",
    "load",
    "load_four",
    "multiply",
    "multiply_add",
    "multiply_first",
    "pick",
    "positive_part",
    "prefetch",
    "put",
    "reciprocal_root",
    "splat",
    "splat_four",
    "square_root",
    "store",
    "subtract",
    "total",
)

LANES, FOUR = 16, 4
FLAGS = ("reassoc", "nsz", "contract", "arcp", "afn")
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_SUFFIX = {types.float32: "f32", types.float64: "f64"}


class _Vector(types.Type):
    """Numba's name for numbers of one type; it lives only inside compiled functions."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector{lanes}x{dtype}")


@register_default(_Vector)
class _VectorModel(PrimitiveModel):  # type: ignore[misc]
    """A vector is an LLVM vector."""

    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(_ELEMENTS[kind.dtype], kind.lanes))


def _element_pointer(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    return builder.gep(array.data, [args[1]], inbounds=True)


def _vector_pointer(context, builder, signature, args, lanes):
    element = _ELEMENTS[signature.args[0].dtype]
    pointer = _element_pointer(context, builder, signature, args)
    return builder.bitcast(pointer, ir.VectorType(element, lanes).as_pointer())


def _bytes(dtype) -> int:
    return int(dtype.bitwidth) // 8


def _spread(builder, value, lanes):
    kind = ir.VectorType(value.type, lanes)
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, empty, zeros)


def _loading(lanes: int):
    @intrinsic
    def operation(typing_context, array, index):
        def generate(context, builder, signature, args):
            pointer = _vector_pointer(context, builder, signature, args, lanes)
            return builder.load(pointer, align=_bytes(signature.args[0].dtype))

        return _Vector(array.dtype, lanes)(array, types.intp), generate

    return operation


# So many numbers of an array, which is contiguous, from an index on.
load, load_four = _loading(LANES), _loading(FOUR)


@intrinsic
def store(typing_context, array, index, vector):
    """Write ``vector`` to ``array`` from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args, vector.lanes)
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
def prefetch(typing_context, array, index):
    """Ask for a number of ``array`` and its neighbours to come to the nearest cache."""

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
def broadcast(typing_context, array, index):
    """One number of ``array`` in all lanes."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        return _spread(builder, builder.load(pointer), LANES)

    return _Vector(array.dtype, LANES)(array, types.intp), generate


@intrinsic
def lane(typing_context, vector):
    """The first lane of ``vector``."""

    def generate(context, builder, signature, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


def _splatting(lanes: int):
    @intrinsic
    def operation(typing_context, number):
        def generate(context, builder, signature, args):
            return _spread(builder, args[0], lanes)

        return _Vector(number, lanes)(number), generate

    return operation


# One number in all lanes.
splat, splat_four = _splatting(LANES), _splatting(FOUR)


def _binary(name: str, flags: tuple[str, ...] = FLAGS):
    @intrinsic
    def operation(typing_context, left, right):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(args[0], args[1], flags=flags)

        return left(left, right), generate

    return operation


add = _binary("fadd")
subtract = _binary("fsub")
multiply = _binary("fmul")
divide = _binary("fdiv")
# A product that is made where it is written: compilers may take (a * b) * c apart and make a * c in
# each turn of a loop. Without any flags it would be given all of them.
multiply_first = _binary("fmul", ("nsz",))


def llvm(builder, name, kind, result, arguments):
    """Call LLVM's own function ``name`` for vectors of ``kind``, which `_Vector` names."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = f"v{kind.lanes}{_SUFFIX[kind.dtype]}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=FLAGS)


@intrinsic
def multiply_add(typing_context, left, right, addend):
    """``left * right + addend``, rounded once."""

    def generate(context, builder, signature, args):
        return llvm(builder, "fma", signature.return_type, args[0].type, args)

    return left(left, right, addend), generate


@intrinsic
def square_root(typing_context, vector):
    """Square root of each lane."""

    def generate(context, builder, signature, args):
        return llvm(builder, "sqrt", signature.return_type, args[0].type, args)

    return vector(vector), generate


class _Estimate(NamedTuple):
    """An instruction that estimates one over the square root, wrong by less than 2**-14."""

    feature: str  # of the processors that have it
    suffix: str  # of LLVM's name for it
    bits: int  # of its mask
    steps: int  # of Newton's method that make it better


_ESTIMATES = {
    (types.float32, LANES): _Estimate("+avx512f", "ps.512", 16, 0),
    (types.float64, FOUR): _Estimate("+avx512vl", "pd.256", 8, 2),
}


@intrinsic
def reciprocal_root(typing_context, vector):
    """One over the square root of each lane, which must be positive, finite, not subnormal.

    Of sixteen float32 it is the processor's estimate as it is, where there is one, with a relative
    error below 2**-14: compilers would make it better by a step of four more instructions, a third
    of all that an optimiser needs. Of four float64 it is made better until the error is below
    1e-15, in a quarter of the time of root and quotient. Elsewhere it is as exact as compilers make
    it.
    """

    def generate(context, builder, signature, args):
        estimate = _ESTIMATES.get((vector.dtype, vector.lanes))
        if estimate and estimate.feature in context.codegen().magic_tuple()[2].split(","):
            root = _estimated(builder, args[0], estimate)
            for _ in range(estimate.steps):
                root = _nearer(builder, vector, args[0], root)
            return root
        one = ir.Constant(args[0].type, [1.0] * vector.lanes)
        root = llvm(builder, "sqrt", vector, args[0].type, args)
        return builder.fdiv(one, root, flags=FLAGS)

    return vector(vector), generate


def _estimated(builder, x, estimate):
    nothing = ir.Constant(x.type, [0.0] * x.type.count)
    arguments = [x, nothing, ir.IntType(estimate.bits)(-1)]
    kind = ir.FunctionType(x.type, [argument.type for argument in arguments])
    name = f"llvm.x86.avx512.rsqrt14.{estimate.suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _nearer(builder, vector, x, root):
    """A step of Newton's method for ``1 / sqrt(x)``."""
    half, one = (ir.Constant(x.type, [number] * vector.lanes) for number in (0.5, 1.0))
    rest = llvm(builder, "fma", vector, x.type, [builder.fneg(builder.fmul(x, root)), root, one])
    return llvm(builder, "fma", vector, x.type, [builder.fmul(half, root), rest, root])


@intrinsic
def total(typing_context, vector):
    """Sum of the lanes."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(_ELEMENTS[vector.dtype], 0.0)
        return llvm(builder, "vector.reduce.fadd", vector, zero.type, [zero, args[0]])

    return vector.dtype(vector), generate


@intrinsic
def keep(typing_context, vector, count):
    """The first ``count`` lanes, and 0 in the others."""

    def generate(context, builder, signature, args):
        number = ir.IntType(32)
        lanes = ir.Constant(ir.VectorType(number, LANES), list(range(LANES)))
        count = builder.trunc(args[1], number)
        kept = builder.icmp_signed("<", lanes, _spread(builder, count, LANES))
        return builder.select(kept, args[0], ir.Constant(args[0].type, [0.0] * LANES))

    return vector(vector, types.intp), generate


@intrinsic
def larger(typing_context, left, right):
    """The larger one in each lane; ``right`` where one of them is NaN."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

    return left(left, right), generate


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
