"""The package's numba decorators, their flags, and the kernel cache.

Compiled kernels are cached in a per-user folder named after a hash of streamnet's own sources:
numba notices changes only in the file that defines a function, not in the files it calls into,
so any change starts a fresh folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import llvmlite.binding as llvm
import numba
import numba.extending
import numpy as np
from numba import config
from numba.core.registry import cpu_target

logger: logging.Logger = logging.getLogger("streamnet.jit")

F = TypeVar("F", bound=Callable[..., Any])

# Folders below the package of which every file counts, also those that only hold constants.
KERNEL_FOLDERS = ("networks", "features/autoencoder", "keyed")

NOWHERE = f"{os.devnull}/"  # where nothing can be written

# No `nnan` and no `ninf`: kernels test their own results for NaN and infinity.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


@cache
def cache_folder() -> Path:
    """Folder that holds the compiled kernels of exactly these sources (not created here)."""
    digest = _hash_sources(Path(__file__).parent)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a name and without HOME
        home = Path(NOWHERE) / ".cache"
    return home / "streamnet" / f"kernels-{digest}"


def cache_location() -> Path:
    """Where kernels are cached: in ``$NUMBA_CACHE_DIR``, or the folder of these sources."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder())


def _hash_sources(root: Path) -> str:
    """Digest of all sources below ``root`` that can become part of a kernel."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    folders = [root / folder for folder in KERNEL_FOLDERS]
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        if b"streamnet.jit" in text or any(path.is_relative_to(folder) for folder in folders):
            digest.update(f"{path.relative_to(root).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()[:16]


def numerics() -> dict[str, str]:
    """Versions and processor on which exact results depend, besides samples, seed and settings.

    >>> sorted(numerics())
    ['cpu', 'kernels', 'llvmlite', 'numba', 'numpy']
    """
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    here = llvm.get_host_cpu_name()
    name = name if name == here else f"{name} on {here}"
    return {
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": f"{name} {hashlib.sha256(features.encode()).hexdigest()[:16]}",
        "kernels": cache_folder().name,
    }


def is_cached(function: Any) -> bool:
    """Whether a compiled function is on disk for any types; True if the cache is not writable."""
    folder, name = function.stats.cache_path, function.__name__
    return folder is None or any(Path(folder).glob(f"*.{name}-*.nbi"))


def jit(function: F) -> F:
    """Compile ``function`` on first use for its argument types; it runs without the GIL.

    Floating-point sums may be reassociated and contracted: results are identical for the same
    compiled code on the same kind of processor, but may differ slightly on another kind.
    """
    return _compile(function, cache=True)


def exact(function: F) -> F:
    """Like `jit`, with floating-point arithmetic exactly as written, so with Python's results.

    Vectors of `networks.simd` keep their own rules. Meant for sums that decide something, which may
    not depend on how samples are cut into blocks.
    """
    return _compile(function, cache=True, fastmath=False)


def exact_kernel(function: F) -> F:
    """Like `exact`, for a function that allocates no array; see `kernel`."""
    return _compile(function, cache=True, fastmath=False, _nrt=False)


def kernel(function: F) -> F:
    """Like `jit`, for a function that allocates no array: arrays are not reference-counted in it.

    Counting takes about 10 ns per array and call, more than a small network's layer.
    """
    return _compile(function, cache=True, _nrt=False)


def inlined(function: F) -> F:
    """Like `kernel`, for a function that is inlined into its callers."""
    return _inline(function, fastmath=FASTMATH)


def exact_inlined(function: F) -> F:
    """Like `inlined`, with the arithmetic of `exact`."""
    return _inline(function, fastmath=False)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """An inlined function that writes LLVM instructions itself, see `numba.extending.intrinsic`."""
    return numba.extending.intrinsic(function)  # type: ignore[no-any-return]


def switch(functions: Iterable[F]) -> Callable[..., Any]:
    """An inlined function that calls ``functions[code]`` with what comes after ``code``.

    All take the same arguments. A code that is out of range calls the first function: codes are
    made from the same functions.
    """
    first, *others = functions
    parameters = [
        Parameter("code", Parameter.POSITIONAL_ONLY),
        *signature(first).parameters.values(),
    ]
    return _branch([first, *others], parameters, passes_code=False)


def specialize(function: F, codes: int) -> Callable[..., Any]:
    """An inlined ``function(code, ...)`` with a copy for each code from 0 to ``codes - 1``.

    In a copy the code is a constant, so that each `switch` in it costs nothing.
    """
    parameters = list(signature(function).parameters.values())
    return _branch([function] * codes, parameters, passes_code=True)


def _branch(
    functions: list[F], parameters: list[Parameter], *, passes_code: bool
) -> Callable[..., Any]:
    """Branch on the first argument by one LLVM instruction.

    Compiling a chain of Python functions, one for each code, takes longer than what they call.
    """

    def choose(typing_context: Any, code: Any, *arguments: Any) -> Any:
        given = (code, *arguments) if passes_code else arguments
        kinds = [typing_context.resolve_value_type(function) for function in functions]
        targets = [typing_context.resolve_function_type(kind, given, {}) for kind in kinds]

        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            jump, values, end = None, [], builder.append_basic_block()
            for number, target in enumerate(targets):
                constant, block = context.get_constant(code, number), builder.append_basic_block()
                if jump is None:
                    jump = builder.switch(args[0], block)
                else:
                    jump.add_case(constant, block)
                builder.position_at_end(block)
                call = context.get_function(kinds[number], target)
                context.add_linking_libs(getattr(call, "libs", ()))
                value = call(builder, [constant, *args[1:]] if passes_code else args[1:])
                values.append((value, builder.block))
                builder.branch(end)
            builder.position_at_end(end)
            merged = builder.phi(values[0][0].type)
            for value, block in values:
                merged.add_incoming(value, block)
            return merged

        return targets[0].return_type(code, *arguments), generate

    context = Parameter("typing_context", Parameter.POSITIONAL_ONLY)
    choose.__signature__ = Signature([context, *parameters])  # type: ignore[attr-defined]
    return intrinsic(choose)


def _inline(function: F, *, fastmath: bool | set[str]) -> F:
    """Compile ``function`` only as part of others; called from Python it stays plain Python.

    Without wrappers for calls from Python and C, compiling takes a fifth less.
    """
    decorate = numba.extending.register_jitable(
        nogil=True,
        error_model="numpy",
        fastmath=fastmath,
        _nrt=False,
        forceinline=True,
        no_cfunc_wrapper=True,
    )
    return decorate(function)  # type: ignore[no-any-return]


def _compile(function: F, *, fastmath: bool | set[str] = FASTMATH, **options: bool) -> F:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_location())
    try:
        if config.CACHE_DIR.startswith(NOWHERE):  # numba would take the working folder instead
            raise RuntimeError
        return _decorate(function, fastmath=fastmath, **options)
    except RuntimeError:  # numba finds no folder to write to, or no source file
        _warn_uncached(config.CACHE_DIR)
        return _decorate(function, fastmath=fastmath, **options | {"cache": False})
    finally:
        config.CACHE_DIR = before


def _decorate(function: F, **options: Any) -> F:
    decorate = numba.njit(nogil=True, error_model="numpy", **options)
    return decorate(function)  # type: ignore[no-any-return]


@cache
def _warn_uncached(folder: str) -> None:
    """Log once why every start takes as long as the first."""
    logger.warning(
        "compiled kernels can't be cached, since %s is not writable: every start compiles them "
        "again; XDG_CACHE_HOME sets another cache folder",
        folder,
    )


SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)  # smaller numbers are subnormal


@exact_inlined
def flush_subnormal(x: float) -> float:
    """``x``, or 0 for a subnormal number; NaN stays NaN.

    A number that is repeatedly multiplied by 0.999 becomes subnormal after 700,000 steps and, by
    rounding, stays so, and most processors handle those ten times slower. Unlike
    `simd.subnormals`, this does not also take subnormal inputs for zero.
    """
    return 0.0 if abs(x) < SMALLEST_NORMAL else x
