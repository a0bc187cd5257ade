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
from numba import _dynfunc, config
from numba.core import typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
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
    return _compile(
        function, cache=True, fastmath=False, _nrt=False, pipeline_class=_KernelCompiler
    )


def kernel(function: F) -> F:
    """Like `jit`, for a function that allocates no array: arrays are not reference-counted in it.

    Counting takes about 10 ns per array and call, more than a small network's layer.
    """
    return _compile(function, cache=True, _nrt=False, pipeline_class=_KernelCompiler)


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


class _InlinedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of an inlined function, optimized only as part of the kernels that contain it.

    Usually numba also optimizes and translates it on its own, together with all that it calls.
    """

    def finalize(self) -> None:
        """Add nothing more; unlike that of a kernel, the code is not translated."""
        self._raise_if_finalized()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """A module with this function and all that it calls."""
        if self._shared_module is None:
            module = self._own_module().clone()
            for library in self._collect_libraries({}):
                inlined = isinstance(library, _InlinedLibrary)
                part = library._own_module() if inlined else library._get_module_for_linking()
                module.link_in(part, preserve=True)
            self._shared_module: Any = module
        return self._shared_module

    def _collect_libraries(self, found: dict[JITCodeLibrary, None]) -> dict[JITCodeLibrary, None]:
        """Add the libraries that this one and its inlined ones call, each once."""
        for library in self._linking_libraries:
            if library not in found:
                found[library] = None
                if isinstance(library, _InlinedLibrary):
                    library._collect_libraries(found)
        return found

    def _own_module(self) -> Any:
        """The module of this function alone, which several others may contain."""
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
        return self._final_module


@register_pass(mutates_CFG=True, analysis_only=False)
class _Declare(LoweringPass):  # type: ignore[misc]
    """Makes an inlined function known to its callers, without an address for calls of its own."""

    _name = "declare_inlined"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Set the entry, which only stands for the function."""
        lowered, library = state.cr, state.library
        module, name = lowered.fndesc.lookup_module(), lowered.fndesc.qualname
        entry = _dynfunc.make_function(module, name, "inlined", 0, lowered.env, (library,))
        state.targetctx.insert_user_function(entry, lowered.fndesc, [library])
        state["cr"] = lowered._replace(cfunc=entry)
        return True


class _KernelCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler with only those passes that change a function of numbers and arrays.

    Not with those for closures, comprehensions, dynamic exceptions, array expressions and literals
    that are unrolled, which take a third of the time even where there are none.
    """

    PASSES = (
        untyped_passes.TranslateByteCode,
        untyped_passes.FixupArgs,
        untyped_passes.IRProcessing,
        untyped_passes.RewriteSemanticConstants,
        untyped_passes.DeadBranchPrune,
        untyped_passes.GenericRewrites,
        untyped_passes.ReconstructSSA,
        typed_passes.NopythonTypeInference,
        typed_passes.PreLowerStripPhis,
        typed_passes.IRLegalization,
        typed_passes.AnnotateTypes,
        typed_passes.NativeLowering,
        typed_passes.NoPythonBackend,
    )

    def define_pipelines(self) -> list[PassManager]:
        """The passes above."""
        manager = PassManager("kernel")
        for each in self.PASSES:
            manager.add_pass(each, each.__name__)
        manager.finalize()
        return [manager]


class _InlinedCompiler(_KernelCompiler):
    """The same for a function that is inlined into its callers."""

    def define_pipelines(self) -> list[PassManager]:
        """The passes of a kernel, and one that declares the function."""
        state = self.state
        state.flags.no_compile = True
        state.library = _InlinedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        (manager,) = super().define_pipelines()
        manager.add_pass_after(_Declare, typed_passes.NativeLowering)
        manager.finalize()
        return [manager]


def _inline(function: F, *, fastmath: bool | set[str]) -> F:
    """Compile ``function`` only as part of others; called from Python it stays plain Python."""
    decorate = numba.extending.register_jitable(
        nogil=True,
        error_model="numpy",
        fastmath=fastmath,
        _nrt=False,
        forceinline=True,
        no_cfunc_wrapper=True,
        pipeline_class=_InlinedCompiler,
    )
    return decorate(function)  # type: ignore[no-any-return]


def _compile(function: F, *, fastmath: bool | set[str] = FASTMATH, **options: Any) -> F:
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
