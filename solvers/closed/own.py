"""Closed systems of objectives that solvers/generated has no file for: derived when first asked for, and kept.

Deriving needs SymPy, so a process of its own does it: `python -m derivations --objective TEXT --into FOLDER`. Its
texts are kept beside the machine code, under a digest of the objective and of all code that derives, and as machine
code is, only what this user wrote is believed: text is executed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from solvers.machine.code.store import SUFFIX, opened
from solvers.problem import ProblemError

__all__ = ["Own", "own"]

#: What decides the texts.
_PACKAGES = ("theory", "derivations", "solvers.objective")


@dataclass(frozen=True)
class Own:
    """name: of its files. texts: by suffix, "py" for NumPy and "numba", "cu" where the system has a form for them."""

    name: str
    texts: dict[str, str]


@cache
def own(objective: str, *, own_variances: bool = False) -> Own:
    """The system of an objective, a text of solvers.objective.grammar in its normal form.

    own_variances: with one for each component and mode.
    Raises  ProblemError, beginning with the key, if its equations do not close or cannot be derived here.
    """
    arguments = ["--objective", objective, *(["--own-variances"] if own_variances else [])]
    name, store = _key(arguments), opened()
    if store is not None and (kept := store.load(name)) is not None:
        found = json.loads(kept)
        return Own(found["name"], found["texts"])
    made = _derived(arguments)
    if store is not None:
        store.save(name, json.dumps({"name": made.name, "texts": made.texts}).encode())
    return made


def _key(arguments: list[str]) -> str:
    digest = hashlib.sha256("\0".join([*arguments, sys.version, ""]).encode())
    for package in _PACKAGES:
        for folder in _folders(package):
            for path in sorted(folder.rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest() + SUFFIX


def _folders(package: str) -> list[Path]:
    """Where a package is, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ProblemError(f"flow.objective: needs the package {package}, which is not installed here")
    return [Path(place) for place in found.submodule_search_locations]


def _derived(arguments: list[str]) -> Own:
    above = str(_folders("derivations")[0].parent)
    paths = os.pathsep.join(filter(None, (above, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="modecollapse-") as folder:
        command = [sys.executable, "-m", "derivations", *arguments, "--into", folder, "--quiet"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
            env=os.environ | {"PYTHONPATH": paths, "PYTHONUTF8": "1"},
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ProblemError(f"flow.objective: {said.removeprefix('--objective: ')}")
        files = {path.suffix[1:]: path for path in Path(folder).iterdir() if path.suffix != ".md"}
        return Own(files["py"].stem, {suffix: path.read_text(encoding="utf-8") for suffix, path in files.items()})
