"""Functions that Python calls, compiled by numba at their first use or loaded from the store.

numba's own cache of compiled functions is not used: it believes the files that it finds, pickles included, and compares
times of source files. These take its place on the same two doors, one to load and one to save.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from llvmlite.binding import Linkage
from numba import njit
from numba.core import compiler, config, sigutils
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.serialize import dumps
from numba.core.typed_passes import NoPythonSupportedFeatureValidation

from solvers.machine.code.modules import PREFIX
from solvers.machine.code.store import SUFFIX, opened
from solvers.machine.options import INSIDE

__all__ = ["callback", "entry"]

#: Whether compiled code holds addresses of the process that made it.
_names_addresses = attrgetter("library.has_dynamic_globals")
#: Settings of numba that change the code it makes and are not among what its code generator tells about itself.
_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")


class _Alone(JITCodeLibrary):
    """Code that calls the copies of functions that were optimised with it.

    numba leaves these under names that other code of the process has too, and the linker takes the first there is: a
    process that compiles would run others than one that loads, with other last bits.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                # The linker looks for names in other code without asking whether they are its own.
                function.name, function.linkage = f"{function.name}.alone", "internal"
        super()._optimize_final_module()


@register_pass(mutates_CFG=False, analysis_only=True)
class _GoesAlone(FunctionPass):
    """Machine code will be put into a library that is closed in itself."""

    _name = "modecollapse_goes_alone"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        alone = _Alone(state.targetctx.codegen(), state.func_id.func_qualname)
        alone.enable_object_caching()  # so that it can be kept
        state["library"] = alone
        return False


class _Compiler(compiler.Compiler):
    def define_pipelines(self) -> list[Any]:
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_GoesAlone, NoPythonSupportedFeatureValidation)
        passes.finalize()
        return [passes]


def entry(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As numba.njit with these options; in a module of a package, machine code is kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        found = njit(**_called(options), pipeline_class=_Compiler)(function)
        if function.__module__.startswith(PREFIX):
            found._cache = _Kept(function)
        return found

    return decorate


def callback(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """As numba.cfunc; in a module of a package, machine code is kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        types = sigutils.normalize_signature(signature)
        found: Any = CFunc(function, types, locals={}, options=_called(options), pipeline_class=_Compiler)
        if function.__module__.startswith(PREFIX):
            found._cache = _Kept(function)
        found.compile()
        return found

    return decorate


def _called(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those of functions that only compiled code calls."""
    return {name: value for name, value in options.items() if name not in INSIDE}


class _Kept(_Cache):
    """What a function of numba asks for machine code and gives it to."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = f"{function.__module__} {function.__qualname__}"

    @property
    def cache_path(self) -> str | None:
        store = opened()
        return None if store is None else str(store.folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for the types of its arguments, or None."""
        store = opened()
        if store is None:
            return None
        target_context.refresh()
        name = self._name(sig, target_context.codegen())
        content = store.load(name)
        if content is None:
            return None
        try:
            return compiler.CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception as error:  # it is what was saved here, but this process cannot make a function of it
            store.distrust(name, f"cannot be loaded ({type(error).__name__})")
            return None

    def save_overload(self, sig: Any, compiled: Any) -> None:
        store = opened()
        # Code with addresses of this process in it means nothing to another one.
        if store is None or _names_addresses(compiled) or compiled.lifted:
            return
        store.save(self._name(sig, compiled.codegen), dumps(compiled._reduce()))

    def _name(self, sig: Any, codegen: Any) -> str:
        settings = [f"{name}={getattr(config, name, None)}" for name in _SETTINGS]
        parts = (self._function, str(sig), str(codegen.magic_tuple()), *settings)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest() + SUFFIX

    def enable(self) -> None:
        """Always is."""

    def disable(self) -> None:
        """Is not, as long as the store can be used."""

    def flush(self) -> None:
        """Files name all that decides them, so none is ever stale."""
