"""What the document of a closed system says of metrics: rates, by group of states, without a list of their names."""

from __future__ import annotations

from theory import ClosedSystem
from theory.emit.latex import MOBILITIES, latex

__all__ = ["section"]

TEXT = r"""
A metric multiplies the slope of each coordinate by a rate, one number a component, that is handed to the equations:
$\dot\mu_k=-{means}\,g_k$ and likewise $\theta_k${variances}, where the slope is $w_k^p\,g_k$. A metric that divides
slopes by $w_k^a$ has the rate $w_k^{{p-a}}$: nothing is divided by $w_k$ where $p=a$. $a=0$ is the plain gradient in
these coordinates (euclidean, softmax); $a=1$ transports each component at unit mass (wasserstein), and is for the
weights the natural gradient on the simplex (fisher-rao),
$\dot w_k=-w_k(\partial D/\partial w_k-\sum_jw_j\,\partial D/\partial w_j)$. So the equations below are those of every
such metric.
"""
BURES = r"""
For log-variances the Wasserstein metric of $N(\mu_k,v_kI)$ (Bures),
$\dot v_k=-\frac{4v_k}{d\,w_k}\partial D/\partial v_k$, has the further factor $4/(d\,v_k)$.
"""
COORDINATES = {"means": r"\mu_k", "weights": r"\theta_k", "variances": r"\log v_k"}


def section(system: ClosedSystem) -> str:
    """The section on metrics: a statement, and the table of rates."""
    own = system.own_variances
    text = TEXT.format(means=rf"{MOBILITIES['rate_means']}_k", variances=r" and $\log v_k$" if own else "")
    (k,) = system.q.indices(1)
    rows = ["| coordinate | rate | $p$ | at $a=0$ | at $a=1$ |", "|---|---|---|---|---|"]
    for group, coordinate in COORDINATES.items():
        if group in system.powers:
            power = system.powers[group]
            shown = [latex(system.q.weight(k) ** (power - a)) for a in (0, 1)]
            symbol = f"{MOBILITIES[f'rate_{group}']}_{k}"
            rows.append(f"| ${coordinate}$ | ${symbol}$ | {power} | ${shown[0]}$ | ${shown[1]}$ |")
    return "\n\n".join([text.strip(), "\n".join(rows), *([BURES.strip()] if own else [])])
