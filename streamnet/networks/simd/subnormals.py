"""Flush-to-zero mode for the duration of a kernel.

Running averages of an optimizer decay into subnormal numbers where gradients cease (in float32
within a few hundred steps) and stay there; most processors handle those many times slower.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from streamnet.jit import intrinsic

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
