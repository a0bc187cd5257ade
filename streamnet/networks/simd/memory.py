"""Loads, stores and prefetches of vectors and scalars. Indices are unchecked and never wrap."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from streamnet.networks.simd.vectors import (
    EIGHT,
    ELEMENTS,
    FOUR,
    LANES,
    Vector,
    item_size,
    splat_value,
)

__all__ = (
    "broadcast",
    "broadcast_like",
    "load",
    "load_constant",
    "load_eight",
    "load_four",
    "load_like",
    "load_one",
    "prefetch",
    "store",
    "store_one",
    "store_split",
)

PART_SIZE = 16  # bytes


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
            return builder.load(pointer, align=item_size(signature.args[0].dtype))

        return Vector(array.dtype, lanes)(array, types.intp), generate

    return operation


# So many numbers of an array, which is contiguous, from an index on.
load, load_eight, load_four = _make_load(LANES), _make_load(EIGHT), _make_load(FOUR)


@intrinsic
def store(typing_context, array, index, vector):
    """Write ``vector`` to ``array`` from ``index`` on."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args, vector.lanes)
        builder.store(args[2], pointer, align=item_size(signature.args[0].dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def store_split(typing_context, array, index, vector):
    """Like `store`, for what is read number by number right after it.

    Processors hand a number from a store of 16 bytes on to who reads it. For one from the middle of
    a longer store some wait until all has reached the cache, as long as a small layer takes.
    """

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        element = ELEMENTS[vector.dtype]
        lanes = PART_SIZE // item_size(vector.dtype)
        for first in range(0, vector.lanes, lanes):
            places = list(range(first, first + lanes))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), places)
            part = builder.shuffle_vector(args[2], ir.Constant(args[2].type, ir.Undefined), mask)
            start = builder.gep(pointer, [ir.Constant(ir.IntType(64), first)])
            start = builder.bitcast(start, ir.VectorType(element, lanes).as_pointer())
            builder.store(part, start, align=item_size(vector.dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def load_one(typing_context, array, index):
    """One number of ``array``, with no test of the index."""

    def generate(context, builder, signature, args):
        return builder.load(_element_pointer(context, builder, signature, args))

    return array.dtype(array, types.intp), generate


@intrinsic
def load_constant(typing_context, array, index):
    """One number of ``array``, which nobody writes while the kernel runs.

    Compilers can't see that writing a weight leaves plans alone, so they would read all facts anew.
    """

    def generate(context, builder, signature, args):
        number = builder.load(_element_pointer(context, builder, signature, args))
        number.set_metadata("invariant.load", builder.module.add_metadata([]))
        return number

    return array.dtype(array, types.intp), generate


@intrinsic
def store_one(typing_context, array, index, number):
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
        return splat_value(builder, builder.load(pointer), LANES)

    return Vector(array.dtype, LANES)(array, types.intp), generate


@intrinsic
def load_like(typing_context, array, index, vector):
    """As many numbers of ``array`` from an index on as ``vector`` has lanes."""

    def generate(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature, args, vector.lanes)
        return builder.load(pointer, align=item_size(vector.dtype))

    return vector(array, types.intp, vector), generate


@intrinsic
def broadcast_like(typing_context, array, index, vector):
    """One number of ``array`` in as many lanes as ``vector`` has."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args)
        return splat_value(builder, builder.load(pointer), vector.lanes)

    return vector(array, types.intp, vector), generate
