"""Reverse-KL flow towards a tempered target p^β, β = 1/T constant or following a schedule (Fogliani et al. 2026)."""

from theory import BETA, ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "tempered reverse-KL gradient flow of a Gaussian mixture"

STATEMENT = r"""
The family $q=\sum_{k=1}^K w_kN(\mu_k, vI)$ descends

$$D=\sum_k w_k\,E_k[\log q-\beta\log p]=\mathrm{KL}(q\|p^\beta/Z_\beta)-\log Z_\beta,\qquad Z_\beta=\int p^\beta ,$$

for the target $p=\sum_{l=1}^L\pi_lN(\nu_l,uI)$ at inverse temperature $\beta=1/T$. $Z_\beta$ does not depend on $q$,
so $D$ decreases at constant $\beta$; it is a Kullback–Leibler divergence up to that constant only.
A schedule $T(t)=1+(T(0)-1)e^{-\lambda t}$ is one more equation, from $\beta=1/T$ by elimination of $t$:
$\dot\beta=\lambda\beta(1-\beta)$, so that the equations do not depend on time explicitly. At constant temperature
$\lambda=0$.
"""

LIMITS = r"""
- Those of [reverse_kl_flow](reverse_kl_flow.md), which is the case $\beta=1$.
- $p^\beta$ is no Gaussian mixture: for $L>1$, $\beta\ne1$ the family never reaches it, and $D>-\log Z_\beta$.
- The mode masses are those under the responsibilities of $p$ itself.
"""

FLOWS = [(weights, metric) for metric in ("euclidean", "wasserstein") for weights in ("softmax", "fisher-rao")]


def system(weights: str, metric: str) -> ClosedSystem:
    """State the problem, let the rules run, close."""
    return close(gradient_flow(ReverseKL(mixture(), target(), BETA), weights=weights, metric=metric))
