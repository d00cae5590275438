"""Deliberate errors in the closed equations, each an edit of the generated source, and what `compare` says of them.

They are slips that people make: a sign, a factor, a weight, a table read the wrong way round. `compare` takes each as
if it were the theory, and has to reject all of them and not the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from solvers.closed import systems
from solvers.problem import Problem
from solvers.verdict.flow import compare
from tests.verification.case import case, seeded

SYSTEM = "reverse_kl"

Say = Callable[[str], None]

# What one reads of each part of the source: (text, what replaces it) everywhere.
_W = "rate_means[..., :, None] * ("
_COV_B = "cov = v * c[..., -1:, -1:] / u**2 + v * c / u**2 - v * c[..., -1:, :] / u**2 - v * c[..., :, -1:] / u**2"


@dataclass(frozen=True)
class Mutation:
    """kind: of slip. what: it does, in formulas. edits: text of the generated source → what stands there instead."""

    kind: str
    what: str
    edits: Mapping[str, str]

    def system(self) -> ModuleType:
        """The mutated system.

        Raises  ValueError if the source does not hold a text to be edited: the mutation would not be one.
        """
        source = systems.read(SYSTEM)
        for old, new in self.edits.items():
            if old not in source:
                raise ValueError(f"{self.kind}: the generated source does not contain {old!r}")
            source = source.replace(old, new)
        return systems.load(source)


MUTATIONS = (
    Mutation(
        "sign",
        "attraction to the modes repels: −Σ B ν",
        {"+ B @ c * beta": "- B @ c * beta", "+ B @ m.mT": "- B @ m.mT"},
    ),
    Mutation("sign in a table", "F = ... + E log Σ p instead of −", {"- beta * lse_B": "+ beta * lse_B"}),
    Mutation(
        "factor two",
        "logits of r_j carry |μ_j|²/v, not |μ_j|²/2v",
        {"- s_diag[..., None, :] / (2 * v)": "- s_diag[..., None, :] / v"},
    ),
    Mutation(
        "factor two in time", "ds/dt = Γ instead of Γ + Γᵀ", {"ds = gamma + gamma.mT": "ds = (gamma + gamma.mT) / 2"}
    ),
    Mutation("missing weight", "dμ_k/dt without w_k", {_W: "("}),
    Mutation(
        "wrong metric",
        "dθ_k/dt without w_k: Fisher–Rao instead of softmax",
        {"dtheta = rate_weights * (": "dtheta = ("},
    ),
    Mutation(
        "wrong variance", "scores of q divided by u instead of v", {"A @ s / v": "A @ s / u", "A @ m / v": "A @ m / u"}
    ),
    Mutation(
        "wrong variance in a law",
        "logits of ρ_l under v = u: covariance c/u instead of v c/u²",
        {_COV_B: _COV_B.replace("v * c", "u * c")},
    ),
    Mutation(
        "no fluctuations",
        "responsibilities at the mean of a component: covariances 0",
        {"cov[..., None, :, :]": "0 * cov[..., None, :, :]"},
    ),
    Mutation("transposed table", "Aᵀ instead of A", {"A @ s": "A.mT @ s", "A @ m": "A.mT @ m"}),
    Mutation(
        "swapped modes", "B_kl of the other mode", {"B @ c": "B[..., ::-1] @ c", "B @ m.mT": "B[..., ::-1] @ m.mT"}
    ),
    Mutation(
        "missing term", "logits of r_j without log w_j", {"log_w[..., None, :] + s[": "0 * log_w[..., None, :] + s["}
    ),
    Mutation(
        "missing weights of p",
        "logits of ρ_l without log π_l",
        {
            "log_pi[..., None, :]": "0 * log_pi[..., None, :]",
            "- log_pi[..., -1:, None]": "- 0 * log_pi[..., -1:, None]",
        },
    ),
    Mutation("wrong factor d", "D with h(v/u) of one direction instead of d", {"return d * (": "return ("}),
    Mutation(
        "F without its mean",
        "dθ_k/dt = −w_k F_k instead of −w_k (F_k − D)",
        {"+ xp.sum(F * w, axis=-1, keepdims=True)  # term dtheta.Fw gauge": ""},
    ),
    Mutation(
        "unweighted masses",
        "π̂_l = Σ_k B_kl/K instead of Σ_k w_k B_kl",
        {"B.mT * w[..., None, :]": "B.mT / w.shape[-1]"},
    ),
)


def verdict(problem: Problem, system: ModuleType | None, **options: Any) -> dict[str, Any]:
    """By part: whether it agrees, how many standard errors its worst entry is off, and which entry that is."""
    report = compare(problem, system=system, **options)
    parts = {
        part.name: {
            "agrees": part.agrees,
            "deviation": part.entries[0].deviation,
            "limit": part.limit,
            "quantity": part.entries[0].quantity,
        }
        for part in report.parts
    }
    return {"agrees": report.agrees, "broken": len(report.broken), "parts": parts}


def measure(
    say: Say, *, dimensions: tuple[int, ...] = (3, 64), particles: int = 256, step: float = 0.1
) -> dict[str, Any]:
    """All mutations and the original, in each dimension."""
    rows: list[dict[str, Any]] = []
    for number, mutation in enumerate((None, *MUTATIONS)):
        system = mutation.system() if mutation else None
        say(f"mutations: {mutation.kind if mutation else 'none'}")
        by_dimension = {
            str(d): verdict(seeded(case(d), number), system, particles=particles, step=step) for d in dimensions
        }
        rows.append(
            {
                "kind": mutation.kind if mutation else "none",
                "what": mutation.what if mutation else "the equations as generated",
                "verdicts": by_dimension,
            }
        )
    return {"particles": particles, "step": step, "rows": rows}
