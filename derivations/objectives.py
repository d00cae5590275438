"""An objective of one's own, as text: its closed system, derived, and written where solvers can find it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from derivations.catalogue import Entry
from derivations.document import render
from solvers.objective.grammar import NO_DIVERGENCE, ObjectiveError, parse
from solvers.objective.polynomials import atoms
from theory import (
    ClosedSystem,
    close,
    close_variances,
    gradient_flow,
    mixture,
    objective,
    target,
    variance_flow,
)
from theory.emit.latex import latex

__all__ = ["Files", "derive", "write"]

STATEMENT = r"""
The means of $q=\sum_{{k=1}}^Kw_kN(\mu_k,{v}I)${variances} and the logits of its weights descend the objective `{text}`,

$$D={value},$$

towards the target $p=\sum_{{l=1}}^L\pi_lN(\nu_l,{u}I)$. {parameters}
"""
LIMITS = r"""
- Exact at every $d$, $K$, $L$; {widths}.
- Continuous time and exact expectations.
"""


@dataclass(frozen=True)
class Files:
    """The texts of one system by the names of their files.

    objective: its text in the normal form of the grammar, which `.py` states as OBJECTIVE. identity: the hash of the
    system, which `.py` states as SYSTEM. NAME.md is the derivation, NAME.py the equations for NumPy, NAME.numba and
    NAME.cu those for compilers, where they have such a form.
    """

    name: str
    objective: str
    identity: str
    texts: dict[str, str]


def derive(text: str, *, own_variances: bool = False, verify: bool = False) -> Files:
    """The closed system of a text of solvers.objective.grammar, for example "reverse-kl + 0.3 forward-kl".

    Texts that are read alike give the same files. own_variances: a variance for each component and mode, those of q
    among the states. verify: check every step of the derivation by numbers, in R^3.
    Raises ObjectiveError for a text that is no objective, NotClosed or ValueError for one whose flow is not derived,
    and WrongRule if a step does not hold.
    """
    if not any(atom.kind == "divergence" for atom in atoms(parse(text))):
        raise ObjectiveError(f"objective: is {text!r}: {NO_DIVERGENCE}")
    if own_variances:
        wanted = objective(text, mixture(own_variances=True), target(own_variances=True))
        system = close_variances(variance_flow(wanted, check=verify))
    else:
        wanted = objective(text)
        system = close(gradient_flow(wanted, check=verify))
    name = f"objective_{system.hash[:16]}"
    entry = _entry(name, system, wanted.name, latex(wanted.value()))
    texts = {f"{name}.md": render(entry)}
    texts |= {f"{name}{suffix}": entry.emit(view) for view, suffix in entry.sources.items()}
    where = f"derivations/documents/{name}.md", f"{name}.md"
    return Files(name, wanted.name, system.hash, {file: content.replace(*where) for file, content in texts.items()})


def _entry(name: str, system: ClosedSystem, text: str, value: str) -> Entry:
    own = system.own_variances
    named = {"beta": r"$\beta=1/T$ tempers the target in the reverse KL."}
    named |= {factor: f"`{factor}` is a constant parameter." for factor in system.factors}
    parameters = " ".join(named[parameter] for parameter in system.parameters)
    module = SimpleNamespace(
        TITLE=f"gradient flow of {text}",
        STATEMENT=STATEMENT.format(
            text=text,
            value=value,
            parameters=parameters,
            v="v_k" if own else "v",
            u="u_l" if own else "u",
            variances=r", its log-variances $\log v_k$" if own else "",
        ),
        LIMITS=LIMITS.format(
            widths="every variance may differ" if own else "one variance $v$ and one $u$, which may differ"
        ),
        SOURCE=f"{name}.py",
        CHECKED="`python -m derivations --objective ... --verify` requires",
        system=lambda: system,
    )
    return Entry(name, module)


def write(files: Files, folder: Path) -> list[Path]:
    """Write the files, each whole or not at all and the `.py` last: where that stands the others do.

    What is there already and the same stays untouched. Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file in sorted(files.texts, key=lambda file: file.endswith(".py")):
        path, content = folder / file, files.texts[file].encode()
        if not path.is_file() or path.read_bytes() != content:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{file}.", dir=folder)
            try:
                with os.fdopen(descriptor, "wb") as out:
                    out.write(content)
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        written.append(path)
    return written
