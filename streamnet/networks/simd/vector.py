"""What a vector is to numba and to LLVM: numbers of one type, side by side."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core import types
from numba.core.datamodel import PrimitiveModel
from numba.core.datamodel import register_default

__all__ = ("EIGHT", "ELEMENTS", "FLAGS", "FOUR", "LANES", "Vector", "llvm", "size_of", "spread")

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


def size_of(dtype) -> int:
    """Bytes of a number of this type."""
    return int(dtype.bitwidth) // 8


def spread(builder, value, lanes):
    """A number in so many lanes."""
    kind = ir.VectorType(value.type, lanes)
    empty = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, empty, zeros)


def llvm(builder, name, kind, result, arguments):
    """Call LLVM's own function ``name`` for vectors of ``kind``, a `Vector`."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = f"v{kind.lanes}{_SUFFIX[kind.dtype]}"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=FLAGS)
