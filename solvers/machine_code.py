"""Machine code that is made once: numba functions as a package of files in a cache folder named by its content.

The name of the folder is the hash of everything that decides the machine code. numba compiles the functions at first
use and leaves the machine code beside them; the next process loads that. Nothing here imports numba.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from types import ModuleType

__all__ = ["cache_folder", "package"]

#: Module -> text, and what its text calls modules of the package -> their names there.
Files = tuple[tuple[str, str], ...]


def cache_folder() -> Path:
    """Where machine code is kept: $MODECOLLAPSE_CACHE, else modecollapse in $XDG_CACHE_HOME, else in ~/.cache."""
    chosen = os.environ.get("MODECOLLAPSE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modecollapse"


def package(files: Files, inside: Files = (), beside: tuple[Path, ...] = ()) -> tuple[Path, dict[str, ModuleType]]:
    """The folder and the modules of a package, from the cache or new.

    Takes
        files: (name, text) of each module; inside: (module, name) for modules that the texts import and the package has
        under that name; beside: files, or folders of files, whose content ends up in the machine code too.
    """
    digest = _digest(files, beside)
    name, folder = f"modecollapse_{digest}", cache_folder() / digest
    if not folder.is_dir():
        _write(files, inside, folder, name)
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        sys.modules.setdefault(name, importlib.util.module_from_spec(spec))  # another thread may be here too
    return folder, {module: importlib.import_module(f"{name}.{module}") for module, _ in files}


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


def _write(files: Files, inside: Files, folder: Path, name: str) -> None:
    """Write the package, whole or not at all; another process may be writing the same one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        (temporary / "__init__.py").write_text("", encoding="utf-8")
        for module, text in files:
            for theirs, ours in inside:
                text = text.replace(f"from {theirs} import", f"from {name}.{ours} import")
            (temporary / f"{module}.py").write_text(text, encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
