"""What the document of a system with a variance for each component says of its notation and of its tables."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr

from theory.radial import radial_nodes
from theory.system import ClosedSystem

__all__ = ["NOTATION", "TABLES", "laws"]

NOTATION = (
    "Notation as in the README; $E_k$ is the expectation over $x\\sim N(\\mu_k,v_kI)$, $E_l$ over "
    "$x\\sim N(\\nu_l,u_lI)$, $\\ell_j$ the logits "
    "$\\log w_j+\\log N(x;\\mu_j,v_jI)$ (without the $\\tfrac d2\\log2\\pi$ that they share), $E^+_k$ the expectation "
    "over $x$ with two more coordinates, in which every mean is zero."
)
TABLES = (
    "The tables are expectations over logits $U_j=a_j+b_j\\cdot z+g_j(|z|^2-d)$, $z\\sim N(0,I_d)$, of the laws below; "
    "under $E^+$, $z$ has $d+2$ coordinates. Softmax and, but for its mean, log-sum-exp see differences only: "
    "$K-1$ directions of $z$ and, unless all $g_j$ agree, $|z|^2$: the sum of their squares and an independent "
    "chi-square of the other degrees of freedom."
)


def laws(system: ClosedSystem, display: Callable[[Expr], str]) -> list[str]:
    """Of all kinds of logits: value at the mean, covariance, and factor of |z|²; then the tables made of them."""
    out: list[str] = []
    seen = set()
    for table in system.tables:
        k, label = table.indices[0], f"${table.name}_{{{''.join(map(str, table.indices))}}}$"
        for node in radial_nodes(table.value):
            if (k, node.size) in seen:
                continue
            seen.add((k, node.size))
            (j,), (i, j2), (j3,) = node.mean.variables, node.cov.variables, node.curvature.variables
            u = f"U^{{({node.size})}}"
            out += [
                f"Under component ${k}$, ${u}_{{{j}}}$ has the mean $a_{{{j}}}=$",
                display(node.mean.expr),
                f"the coefficient $g_{{{j3}}}$ of $|z|^2-d$ is",
                display(node.curvature.expr),
                f"and the covariance $b_{{{i}}}\\cdot b_{{{j2}}}$ of the parts linear in $z$ is",
                display(node.cov.expr),
            ]
        out += [f"{label} is", display(table.value)]
    return out
