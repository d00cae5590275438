"""Generated systems: loading emitted source, choosing the one that a problem asks for, and dropping a term from it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from solvers.closed import mobility
from solvers.closed.own import Own, own
from solvers.expectations import gaussian_softmax
from solvers.expectations.quadratic import centred_softmax
from solvers.problem import Problem, ProblemError
from solvers.problem.values import show

__all__ = [
    "Kind",
    "TermError",
    "call",
    "derived",
    "evaluate",
    "expectations",
    "for_problem",
    "has_variances",
    "load",
    "name",
    "parameters",
    "powers",
    "read",
    "read_compiled",
    "read_text",
    "terms",
]

GENERATED = Path(__file__).parents[1] / "generated"

#: What problems with a variance for each component have, in words.
WIDTHS = "variances that differ or are learned"

#: Parameters that every system has.
PLAIN = ("c", "log_pi", "v", "u", "d")

#: What a generated module says of itself, read without executing it.
_HEADER = re.compile(r"^(OBJECTIVE|PARAMETERS|VARIANCES) = (.+)$", re.MULTILINE)
_TERM = re.compile(r"^.*# term (\S+)( gauge)?$", re.MULTILINE)
#: The same line in its parts: sign, expression, mark.
_SIGNED = re.compile(r"^(\s*[+-] )(.*\S)(\s+# term (\S+)(?: gauge)?)$", re.MULTILINE)


class TermError(ProblemError):
    """--drop names a term that the system does not have; the message lists those it has."""


def read(name: str) -> str:
    """Source text of a generated system."""
    return read_text(f"{name}.py")


def read_text(file: str) -> str:
    """Text of a generated file."""
    return (GENERATED / file).read_text(encoding="utf-8")


def source(problem: Problem) -> str:
    """Source text, for NumPy, of the system behind a problem. Raises ProblemError if there is none."""
    return read_compiled(problem, "py")


def has_compiled(problem: Problem, view: str) -> bool:
    """Whether the system behind a problem has a text for a compiler."""
    if is_own(problem):
        return view in _own(problem).texts
    return (GENERATED / f"{name(problem)}.{view}").is_file()


def read_compiled(problem: Problem, view: str = "numba") -> str:
    """Text for numba, or CUDA source (view "cu"), of the system behind a problem."""
    return _own(problem).texts[view] if is_own(problem) else read_text(f"{name(problem)}.{view}")


def is_own(problem: Problem) -> bool:
    """Whether the equations of a problem are derived when asked for: those of an objective that has no generated file,
    and those with a variance for each component that have none."""
    flow, kinds = problem.flow, derived()
    if flow.objective not in {kind.objective for kind in kinds}:
        return True
    plain = flow.batch is None and (flow.temperature == 1 or flow.tempered)
    return problem.own_variances and plain and not any(kind.serves(problem) for kind in kinds)


@dataclass(frozen=True)
class Kind:
    """What a system is derived for, in whatever metric.

    extra: its parameters beyond those of q and p (beta; step and size of batches). variances: "own" if every component
    has one, "" if all of a mixture have the same.
    """

    objective: str
    extra: frozenset[str]
    variances: str = ""

    @property
    def batch(self) -> bool:
        """Whether the equations are those of steps."""
        return "step" in self.extra

    def serves(self, problem: Problem) -> bool:
        """Whether these are the equations of a problem. At temperature 1 they may have a β, which is 1."""
        flow = problem.flow
        each = "own" if problem.own_variances else ""
        tempered = flow.temperature == 1 or "beta" in self.extra
        return (self.objective, self.batch, self.variances) == (flow.objective, bool(flow.batch), each) and tempered

    @property
    def beyond(self) -> list[str]:
        """What the equations can have beyond their objective, in words; steps of a batch have β as well. Those with
        WIDTHS are derived when asked for."""
        if self.variances:
            return [WIDTHS]
        return (
            ["batch"] if self.batch else ["none of these", *(["temperature"] if "beta" in self.extra else []), WIDTHS]
        )


@cache
def derived() -> dict[Kind, str]:
    """Every generated system by its kind. A new derivation is found here by itself."""
    found = {}
    for path in sorted(GENERATED.glob("*.py")):
        header = {key: ast.literal_eval(value) for key, value in _HEADER.findall(path.read_text(encoding="utf-8"))}
        if header:
            extra = frozenset(header["PARAMETERS"]) - frozenset(PLAIN)
            found[Kind(header["OBJECTIVE"], extra, header.get("VARIANCES", ""))] = path.stem
    return found


def name(problem: Problem) -> str:
    """Name of the system behind a problem. Raises ProblemError if there is none."""
    flow = problem.flow
    if is_own(problem):
        return _own(problem).name
    for kind, found in derived().items():
        if kind.serves(problem):
            return found
    asked = {"temperature": flow.temperature != 1 and not flow.batch, "batch": bool(flow.batch)}
    asked[WIDTHS] = problem.own_variances
    known = sorted({words for kind in derived() if kind.objective == flow.objective for words in kind.beyond})
    raise ProblemError(
        f"{problem.name}: flow: no equations are derived for {flow.objective} with "
        f"{' and '.join(word for word, there in asked.items() if there)}; allowed: {', or '.join(known)}"
    )


def _own(problem: Problem) -> Own:
    """The system behind a problem whose objective is derived when asked for. Raises ProblemError if there is none."""
    flow, where = problem.flow, f"{problem.name}: flow: {show(problem.flow.objective)}"
    if flow.batch is not None:
        raise ProblemError(f"{where} is derived for the flow, not for the steps of flow.batch; leave it out")
    if flow.temperature != 1 and not flow.tempered:
        raise ProblemError(f"{where} has no reverse-kl that flow.temperature could temper; must be 1")
    try:
        return own(flow.objective, own_variances=problem.own_variances)
    except ProblemError as error:
        raise ProblemError(f"{problem.name}: {error}") from None


def terms(source: str, problem: Problem | None = None) -> tuple[str, ...]:
    """Names of the terms that `drop` accepts, in the order of the source.

    With a problem, those whose loss could be noticed there: a constant in θ is none where all rates are the same.
    """
    constant = problem is not None and mobility.exponents(problem.flow, powers(source))["weights"] == 0
    return tuple(name for name, gauge in _marks(source) if not (gauge and constant))


@lru_cache(maxsize=64)
def _marks(source: str) -> list[tuple[str, str]]:
    """Of each term its name and whether it is a gauge."""
    return _TERM.findall(source)


def powers(source: str) -> dict[str, int]:
    """Of each group of states, the power of w_k in its slope: POWERS of a source text."""
    (found,) = re.findall(r"^POWERS = (.+)$", source, re.MULTILINE)
    return dict(ast.literal_eval(found))


def load(source: str, *, drop: str | None = None, scale: Mapping[str, float] | None = None) -> ModuleType:
    """A module from emitted source text: one of ours, or that of a user's own system (`system.emit("numpy")`).

    drop: leave out the line marked `# term NAME`; scale: multiply each line so named by a number. Either makes a
    deliberately wrong theory, whose SYSTEM says so.
    Raises TermError if there is no such term.
    """
    for name in [*([] if drop is None else [drop]), *(scale or {})]:
        if name not in terms(source):
            option = "--drop" if name == drop else "scale"
            raise TermError(f"{option}: {name}: no such term; allowed are {', '.join(terms(source))}")
    changes = [] if drop is None else [f"without {drop}"]
    if drop is not None:
        source = _TERM.sub(lambda line: "" if line.group(1) == drop else line.group(0), source)
    if factors := dict(scale or {}):
        changes += [f"with {factor!r} times {name}" for name, factor in factors.items()]
        source = _SIGNED.sub(
            lambda line: f"{line[1]}{factors[line[4]]!r} * ({line[2]}){line[3]}" if line[4] in factors else line[0],
            source,
        )
    return _execute(source, " and ".join(changes))


@cache
def _execute(source: str, changes: str) -> ModuleType:
    module = ModuleType("solvers.generated.system")
    exec(compile(source, "<emitted system>", "exec"), module.__dict__)
    if changes:
        module.SYSTEM = f"{module.SYSTEM} {changes}"  # type: ignore[attr-defined]
    return module


def for_problem(problem: Problem, *, drop: str | None = None) -> ModuleType:
    """The generated system behind a problem, whole or without one term.

    It defines, on numpy or cupy arrays with any leading batch axes, functions to be called by `call`:
        tables(s, m, theta, ..., expect) -> the expectation tables TABLES, for example A (..., K, K)
        velocity(...) -> ds, dm, dtheta    objective(...) -> (...)    mode_mass(...) -> (..., L)
    With a variance for each component (VARIANCES = "own") v is (..., K), u (L,), and velocity has d log v/dt too.
    Raises  ProblemError if no equations are derived for the problem's [flow]; TermError, also for a term that moves θ
    by a constant, which no comparison could notice.
    """
    text = source(problem)
    noticed = terms(text, problem)
    if drop is not None and drop not in noticed:
        gauge = f"with weights {problem.flow.weights} it is the same for all components and moves no weight"
        reason = gauge if drop in terms(text) else "no such term"
        raise TermError(f"--drop: {drop}: {reason}; allowed are {', '.join(noticed)}")
    return load(text, drop=drop)


def expectations(module: ModuleType) -> Callable[..., tuple[Any, ...]]:
    """The `expect` that the tables of a system ask for."""
    return centred_softmax if has_variances(module) else gaussian_softmax


def has_variances(module: ModuleType) -> bool:
    """Whether log v is among the states of a system."""
    return getattr(module, "VARIANCES", "") == "own"


def parameters(problem: Problem, time: float = 0.0) -> dict[str, Any]:
    """c (L, L), log_pi (L,), v, u, d, beta of a problem, parameters of its objective, and step, size of its batches.

    Where variances differ or are learned, v is (K,), at the start, and u (L,).
    """
    flow, each = problem.flow, problem.own_variances
    plain = {
        "c": np.asarray(problem.target.c),
        "log_pi": np.log(problem.target.weights),
        "v": np.asarray(problem.family.variances) if each else problem.family.variances[0],
        "u": np.asarray(problem.target.variances) if each else problem.target.variances[0],
        "d": problem.dimension,
        **flow.parameters,
    }
    return (
        plain | {"beta": flow.beta(time)} | ({"step": flow.batch.step, "size": flow.batch.size} if flow.batch else {})
    )


def evaluate(
    problem: Problem,
    module: ModuleType,
    s: Any,
    m: Any,
    theta: Any,
    log_v: Any = None,
    *,
    time: float = 0.0,
    expect: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Everything that the functions of a system take, by name: states, parameters, the rates of the problem's metric
    and, evaluated here, its tables.

    log_v (..., K): where variances are states; default those at the start.
    """
    expect = expect or expectations(module)
    values = {"s": np.asarray(s), "m": np.asarray(m), "theta": np.asarray(theta), "expect": expect}
    values |= parameters(problem, time)
    if has_variances(module) and log_v is not None:
        values["v"] = np.exp(np.asarray(log_v))
    w = np.exp(module.log_weights(values["theta"]))
    values |= mobility.rates(problem.flow, module.POWERS, w, values["v"], values["d"])
    return values | dict(zip(module.TABLES, call(module.tables, values), strict=True))


def call(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """A function of a generated system, with the arguments that it names."""
    return function(**{name: values[name] for name in _arguments(function)})


@lru_cache(maxsize=1024)
def _arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments of a function; a right-hand side asks at every step."""
    return tuple(inspect.signature(function).parameters)
