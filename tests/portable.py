"""The numerical tests as other processors and other surroundings compute them: make portable, ONLY=A+B for one run.

Numerical is every test file that imports numpy. Each run takes them in a process of its own, whose vector instructions,
threads or surroundings are others; several variants share a run where they concern different things, and one that
fails is narrowed by naming its parts. What this processor cannot pretend to be is said. Ends with status 1 if a test
failed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Variant:
    """environment: what is set, or unset where None. before: called in the new process. missing: why it cannot run."""

    name: str
    meaning: str
    environment: dict[str, str | None] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    own_cache: bool = False
    missing: str = ""


def flags() -> set[str]:
    """What /proc/cpuinfo says that this processor can do; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return set(found[1].split()) if found else set()


def blas(kind: str, needs: str) -> Variant:
    """The kernels of OpenBLAS for another kind of processor."""
    environment = {"OPENBLAS_CORETYPE": kind}
    absent = sorted(set(needs.split()) - flags())
    missing = f"this processor ({platform.machine()}) has no {', '.join(absent)}" if absent else ""
    if not missing:
        command = [sys.executable, "-m", "tests.portable", "--kernels"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)
        if done.stdout.strip() != kind:
            missing = f"NumPy computes with {done.stdout.strip() or 'no OpenBLAS'} when asked for it"
    return Variant(kind, f"BLAS kernels of {kind}", environment, missing=missing)


def kernels() -> str:
    """For which kind of processor NumPy's OpenBLAS computes; "" without one."""
    import numpy as np

    for path in Path(np.__file__).parents[1].glob("numpy.libs/*openblas*"):
        name = getattr(ctypes.CDLL(str(path)), "scipy_openblas_get_corename64_", None)
        if name is not None:
            name.restype = ctypes.c_char_p
            return str(name().decode())
    return ""


def narrow() -> Variant:
    """NumPy without the vector instructions that it finds beyond those it was built for: AVX2, AVX-512, FMA."""
    from numpy._core import _multiarray_umath as core  # type: ignore[attr-defined]

    found = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    environment = {"NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    return Variant(
        "narrow",
        f"NumPy without {' '.join(found)}",
        environment,
        missing="" if found else "NumPy found none to disable",
    )


def variants() -> list[Variant]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    homeless = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "MODECOLLAPSE_CACHE"))
    alone: Callable[[], object] | None = None
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        alone = lambda: os.sched_setaffinity(0, {core})  # noqa: E731
    return [
        blas("Haswell", "avx2 fma"),
        blas("Zen", "avx2 fma"),
        blas("SkylakeX", "avx512f avx512dq avx512bw avx512vl"),
        blas("Nehalem", "sse4_2"),
        narrow(),
        Variant("generic", "machine code for any processor", {"NUMBA_CPU_NAME": "generic"}, own_cache=True),
        Variant("one-thread", "one thread each for OpenMP, OpenBLAS and numba", one),
        Variant("two-threads", "two threads each for OpenMP and OpenBLAS", two),
        Variant("one-core", "one core", before=alone, missing="" if alone else "no affinity here"),
        Variant("C", "LC_ALL=C", {"LC_ALL": "C"}),
        Variant("Chatham", "TZ=Pacific/Chatham", {"TZ": "Pacific/Chatham"}),
        Variant("umask", "umask 077", before=lambda: os.umask(0o077), own_cache=True),
        Variant("homeless", "HOME unset", homeless),
    ]


RUNS = (
    "Haswell+C+Chatham",
    "Zen+two-threads",
    "SkylakeX+umask+homeless",
    "Nehalem+narrow+one-thread",
    "generic+one-core",
)


def together(variants: list[Variant]) -> Variant:
    """All of them at once; missing if none can run, without those that cannot otherwise."""
    able = [variant for variant in variants if not variant.missing] or variants
    environment: dict[str, str | None] = {}
    for variant in able:
        environment |= variant.environment
    before = [variant.before for variant in able if variant.before]

    def all_before() -> None:
        for call in before:
            call()

    return Variant(
        "+".join(variant.name for variant in variants),
        "; ".join(variant.meaning + (" (not here)" if variant.missing else "") for variant in variants),
        environment,
        all_before,
        any(variant.own_cache for variant in able),
        "; ".join(variant.missing for variant in able if variant.missing),
    )


def numerical() -> list[str]:
    """Test files that import numpy."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    imports = re.compile(r"^\s*(import|from) numpy\b", re.MULTILINE)
    return [str(path.relative_to(ROOT)) for path in files if imports.search(path.read_text(encoding="utf-8"))]


def run(variant: Variant, tests: list[str]) -> tuple[str, bool]:
    """What happened, in a line, and whether all is well; tests that failed are printed."""
    if variant.missing:
        return f"not run: {variant.missing}", True
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        changes = variant.environment | ({"MODECOLLAPSE_CACHE": f"{folder}/cache"} if variant.own_cache else {})
        environment = {name: value for name, value in (os.environ | changes).items() if value is not None}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-n", "auto", "--maxprocesses", "8", "--dist", "loadfile", *tests]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, preexec_fn=variant.before, capture_output=True, text=True
        )
        if done.returncode not in (0, 1) or not report.exists():
            return f"pytest ended with status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}", False
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    for case in suite.iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            print(f"    {case.get('classname')}.{case.get('name')}: {(problem.get('message') or '').splitlines()[:1]}")
    failed = count["failures"] + count["errors"]
    passed, minutes = count["tests"] - failed - count["skipped"], (time.monotonic() - begin) / 60
    return f"{passed} passed, {failed} failed, {count['skipped']} skipped, {minutes:.0f} min", failed == 0


def main() -> int:
    known = variants() if "--kernels" not in sys.argv else []
    parser = argparse.ArgumentParser(prog="python -m tests.portable", description=__doc__)
    named = {variant.name: variant for variant in known}
    parser.add_argument("only", nargs="*", metavar="A+B", help=f"of {', '.join(named)}; default {' '.join(RUNS)}")
    parser.add_argument("--tests", nargs="+", default=None, help="files to run, default the numerical ones")
    parser.add_argument("--kernels", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.kernels:
        print(kernels())
        return 0
    for name in "+".join(asked.only).split("+") if asked.only else ():
        if name not in named:
            parser.error(f"{name}: no such variant; allowed: {', '.join(named)}")
    assert set("+".join(RUNS).split("+")) == set(named), "every variant has its run"
    tests, table = asked.tests or numerical(), []
    for run_name in asked.only or RUNS:
        variant = together([named[name] for name in run_name.split("+")])
        told, well = run(variant, tests)
        table.append((variant, told, well))
        print(f"{variant.name}: {told}", flush=True)
    print(f"\n{len(tests)} files of tests, {platform.machine()}, OpenBLAS by itself {kernels() or 'none'}")
    for variant, told, _ in table:
        print(f"{variant.name}: {told.splitlines()[0]} ({variant.meaning})")
    return 0 if all(well for *_, well in table) else 1


if __name__ == "__main__":
    sys.exit(main())
