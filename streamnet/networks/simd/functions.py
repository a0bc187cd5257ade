"""Elementwise functions of vectors, and the processor's treatment of subnormal numbers."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from streamnet.jit import intrinsic
from streamnet.networks.simd.vectors import FLAGS, Operation, call_llvm, elementwise

# Degree of the Taylor polynomial, clamp, bits of the mantissa, bias of the exponent.
_EXPONENTIAL = {types.float32: (6, 87.0, 23, 127), types.float64: (13, 708.0, 52, 1023)}


def _exponential(builder, vector, x):
    """``exp`` of each lane, about as exact as its argument.

    exp(x) = 2**t with t = x / ln 2: the whole part of t becomes the exponent, and a Taylor
    polynomial gives 2**f for the rest f in +-1/2. Rounding t changes the result as much as rounding
    x would, so its relative error is below ``(2 + abs(x))`` units in the last place. Arguments are
    clamped at +-87 (float32) or +-708 (float64). NaN stays NaN.
    """
    degree, clamp, mantissa, bias = _EXPONENTIAL[vector.dtype]
    integer = _integers(vector)
    constant = partial(_constant, x.type)
    t = builder.fmul(x, constant(1.0 / math.log(2.0)))
    t = _clamp(builder, t, clamp / math.log(2.0))
    n = call_llvm(builder, "roundeven", vector, x.type, [t])
    terms = [math.log(2.0) ** k / math.factorial(k) for k in range(degree + 1)]
    power = _estrin(builder, vector, terms, builder.fsub(t, n))
    exponent = builder.add(builder.fptosi(n, integer), _constant(integer, bias))
    shifted = builder.shl(exponent, _constant(integer, mantissa))
    return builder.fmul(power, builder.bitcast(shifted, x.type))


exponential: Operation = elementwise(_exponential)


def _constant(kind, number):
    """A vector of equal numbers."""
    return ir.Constant(kind, [number] * kind.count)


def _integers(vector):
    """The LLVM vector of integers of the same shape."""
    return ir.VectorType(ir.IntType(vector.dtype.bitwidth), vector.lanes)


def _clamp(builder, x, limit):
    """``x`` within +-limit; NaN stays NaN."""
    for nearest, compare in ((limit, "<"), (-limit, ">")):
        end = _constant(x.type, nearest)
        x = builder.select(builder.fcmp_ordered(compare, end, x), end, x)
    return x


def _estrin(builder, vector, coefficients, x):
    """A polynomial by Estrin's scheme: pairs of terms, with a shorter chain than Horner's."""
    terms = [_constant(x.type, number) for number in coefficients]
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        last = terms[-1:] if len(terms) % 2 else []
        fused = [call_llvm(builder, "fma", vector, x.type, [odd, x, even]) for even, odd in pairs]
        terms = fused + last
        x = builder.fmul(x, x)
    return terms[0]


# Terms of the series, bits of the mantissa, and the bits of the square root of 1/2.
_LOGARITHM = {types.float32: (5, 23, 0x3F3504F3), types.float64: (11, 52, 0x3FE6A09E667F3BCD)}


@elementwise
def logarithm(builder: Any, vector: Any, x: Any) -> Any:
    """``log`` of each lane, which must be positive, finite and not subnormal.

    x = 2**n z with z from sqrt(1/2) to sqrt(2), and log z = 2 artanh((z - 1) / (z + 1)), by its
    series. The relative error is below 4 units in the last place.
    """
    count, mantissa, half = _LOGARITHM[vector.dtype]
    constant, whole = partial(_constant, x.type), partial(_constant, _integers(vector))
    bits = builder.bitcast(x, _integers(vector))
    n = builder.ashr(builder.sub(bits, whole(half)), whole(mantissa))
    z = builder.bitcast(builder.sub(bits, builder.shl(n, whole(mantissa))), x.type)
    s = builder.fdiv(builder.fsub(z, constant(1.0)), builder.fadd(z, constant(1.0)))
    square = builder.fmul(s, s)
    series = _estrin(builder, vector, [2.0 / (2 * k + 1) for k in range(count)], square)
    exponent = builder.fmul(builder.sitofp(n, x.type), constant(math.log(2.0)))
    return call_llvm(builder, "fma", vector, x.type, [s, series, exponent])


# tanh(x) is about x P(x**2) / Q(x**2) for abs(x) <= 8: our minimax fit, with a relative error below
# 7e-9. At 8 it is 0.9999999.
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


@elementwise
def hyperbolic_tangent(builder: Any, vector: Any, x: Any) -> Any:
    """``tanh`` of each lane; NaN stays NaN, and 0 stays 0.

    In float32 a rational function with an absolute error below 4e-7, whose latency is lower than
    that of `exponential`; small networks wait for it most. In float64 2 / (1 + exp(-2 x)) - 1, with
    an absolute error below 1e-15.
    """
    if vector.dtype == types.float32:
        return _rational_tangent(builder, vector, x)
    one, two = _constant(x.type, 1.0), _constant(x.type, 2.0)
    power = _exponential(builder, vector, builder.fneg(builder.fmul(two, x)))
    return builder.fsub(builder.fdiv(two, builder.fadd(one, power)), one)


def _rational_tangent(builder, vector, x):
    x = _clamp(builder, x, _TANH_LIMIT)
    s = builder.fmul(x, x)
    above, below = (_estrin(builder, vector, terms, s) for terms in (_TANH_P, _TANH_Q))
    return builder.fdiv(builder.fmul(x, above), below)


@elementwise
def logistic(builder: Any, vector: Any, x: Any) -> Any:
    """``1 / (1 + exp(-x))`` of each lane; NaN stays NaN.

    In float32 1/2 + tanh(x / 2) / 2, with an absolute error below 3e-7; in float64 as written.
    """
    half, one = _constant(x.type, 0.5), _constant(x.type, 1.0)
    if vector.dtype == types.float32:
        tangent = _rational_tangent(builder, vector, builder.fmul(half, x, flags=FLAGS))
        return call_llvm(builder, "fma", vector, x.type, [half, tangent, half])
    power = _exponential(builder, vector, builder.fneg(x))
    return builder.fdiv(one, builder.fadd(one, power))


_TRIPLE = llvm.get_default_triple()
_X86 = _TRIPLE.startswith("x86_64")
_ARM = _TRIPLE.startswith(("aarch64", "arm64"))
# x86: flush-to-zero and denormals-are-zero, bits 15 and 6 of MXCSR; ARM: FZ, bit 24 of FPCR, both.
_FLUSH = 0x8040 if _X86 else 1 << 24
_WORD = ir.IntType(64)


def _control(builder):
    """Read the floating-point control word; 0 on unsupported processors."""
    if _X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        _x86(builder, "stmxcsr", place)
        return builder.zext(builder.load(place), _WORD)
    if _ARM:
        return builder.asm(ir.FunctionType(_WORD, []), "mrs $0, fpcr", "=r", [], side_effect=True)
    return ir.Constant(_WORD, 0)


def _set_control(builder, control):
    if _X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(control, ir.IntType(32)), place)
        _x86(builder, "ldmxcsr", place)
    elif _ARM:
        kind = ir.FunctionType(ir.VoidType(), [_WORD])
        builder.asm(kind, "msr fpcr, $0", "r", [control], side_effect=True)


def _x86(builder, name, place):
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def flush_subnormals(typing_context: Any) -> Any:
    """Treat subnormal numbers as zero in this thread; returns what `restore_subnormals` needs."""

    def generate(context, builder, signature, args):
        control = _control(builder)
        _set_control(builder, builder.or_(control, ir.Constant(_WORD, _FLUSH)))
        return control

    return types.int64(), generate


@intrinsic
def restore_subnormals(typing_context: Any, control: Any) -> Any:
    """Restore this thread's handling of subnormal numbers."""

    def generate(context, builder, signature, args):
        _set_control(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate
