"""Reverse-KL gradient flow of an isotropic Gaussian mixture towards a target that may be tempered; means and weights.

Source: Soletskyi, Gabrié, Loureiro, arXiv 2410.13300, MLST 6 025056 (2025), with weights and v ≠ u beside it; tempering
as in Fogliani, Loureiro, Gabrié, arXiv 2602.12923 (2026).
"""

from theory import BETA, ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "reverse-KL gradient flow of a Gaussian mixture"

STATEMENT = r"""
The family $q=\sum_{k=1}^K w_kN(\mu_k, vI)$ and the target $p=\sum_{l=1}^L\pi_lN(\nu_l,uI)$ are mixtures in
$\mathbb R^d$. The means and the logits $\theta$ of the weights, $w=\mathrm{softmax}\,\theta$, descend

$$D=\sum_k w_k\,E_k[\log q-\beta\log p]=\mathrm{KL}(q\|p^\beta/Z_\beta)-\log Z_\beta,\qquad Z_\beta=\int p^\beta ,$$

at inverse temperature $\beta=1/T$. At $\beta=1$ this is $\mathrm{KL}(q\|p)$. $Z_\beta$ does not depend on $q$, so $D$
decreases at constant $\beta$; for $\beta\ne1$ it is a Kullback–Leibler divergence up to that constant only.
A schedule $T(t)=1+(T(0)-1)e^{-\lambda t}$ is one more equation, from $\beta=1/T$ by elimination of $t$:
$\dot\beta=\lambda\beta(1-\beta)$, so that the equations do not depend on time explicitly. At constant temperature
$\lambda=0$.

Along with them come the objective $D$ and the mass of $q$ on mode $l$, $\hat\pi_l=\int q\,\rho_l=\sum_kw_kE_k[\rho_l]$.
With the weights held fixed, drop the equation of $\theta$; with the means held fixed, those of $s$ and $m$.
"""

LIMITS = r"""
- Exact at every $d$, $K$, $L$: nothing is expanded in $1/d$, and overlaps are plain inner products, not
  divided by $d$.
- One variance $v$ for all components of $q$ and one variance $u$ for all modes of $p$; they may differ. Under the
  Wasserstein metric means move and variances stay: each component is transported as a whole.
- Continuous time and exact expectations. A simulation with step $h$ and $n$ particles differs by $O(h)$ (explicit
  Euler) and $O(h/n)$ (noise of the gradient), and starts that lie on a basin boundary may be tipped over by that noise.
- Isotropic covariances. For $p$ with a common covariance $S^{-1}$ the same rules end in
  `NotClosed`, which names the statistics that are missing.
- $p^\beta$ is no Gaussian mixture: for $L>1$, $\beta\ne1$ the family never reaches it, and $D>-\log Z_\beta$. The mode
  masses are those under the responsibilities of $p$ itself.
- A vanishing weight decays like $1/t$ under the softmax flow, and exponentially under Fisher–Rao.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    return close(gradient_flow(ReverseKL(mixture(), target(), BETA)))
