"""Modules made of texts, in memory: a package named by the hash of everything that decides its machine code."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import linecache
import platform
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from solvers.machine.backends import BackendError
from solvers.machine.code.switch import switched_off

__all__ = ["PREFIX", "package"]

#: What names of packages begin with; the rest is the hash.
PREFIX = "modecollapse_"
#: Module -> text, and what its text calls modules of the package -> their names there.
Files = tuple[tuple[str, str], ...]


class _Texts(MetaPathFinder, InspectLoader):
    """Finds and loads modules whose source is in memory, by their full names."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        return spec_from_loader(fullname, self) if fullname in self.texts else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # as usual

    def is_package(self, fullname: str) -> bool:
        return "." not in fullname

    def get_source(self, fullname: str) -> str:
        return self.texts[fullname]

    def get_code(self, fullname: str) -> CodeType:
        text, name = self.texts[fullname], f"<{fullname}>"
        # For tracebacks and for messages of numba, which show the line.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        return compile(text, name, "exec", dont_inherit=True)


_texts = _Texts()
_lock = threading.Lock()


def package(files: Files, inside: Files = (), beside: tuple[Path, ...] = ()) -> dict[str, ModuleType]:
    """The modules of a package, by name; made at the first call.

    Takes
        files: (name, text) of each module; inside: (module, name) for modules that the texts import and the package has
        under that name; beside: files, or folders of files, whose content ends up in the machine code too.
    Raises
        BackendError where numba is switched off.
    """
    if switched_off():
        raise BackendError("numba: is switched off by NUMBA_DISABLE_JIT, and this needs it; unset that")
    name = PREFIX + _digest(files, beside)
    with _lock:
        if _texts not in sys.meta_path:
            sys.meta_path.append(_texts)
        _texts.texts.setdefault(name, "")
        for module, text in files:
            for theirs, ours in inside:
                text = text.replace(f"from {theirs} import", f"from {name}.{ours} import")
            _texts.texts.setdefault(f"{name}.{module}", text)
    return {module: importlib.import_module(f"{name}.{module}") for module, _ in files}


def _processor() -> str:
    from llvmlite import binding

    return f"{platform.machine()} {binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


@lru_cache(maxsize=64)
def _digest(files: Files, beside: tuple[Path, ...]) -> str:
    """Hash of all that decides the machine code: the texts, our own files, versions, the processor."""
    digest = hashlib.sha256()
    parts = [_processor(), sys.version, *(importlib.metadata.version(p) for p in ("numba", "llvmlite", "numpy"))]
    for part in (*parts, *(part for file in files for part in file)):
        digest.update(part.encode() + b"\0")
    for path in beside:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]
