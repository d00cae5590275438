"""Reverse-KL gradient flow of an isotropic Gaussian mixture, means and softmax weights learned.

Source: Soletskyi, Gabrié, Loureiro, arXiv 2410.13300, MLST 6 025056 (2025), with weights and v ≠ u beside it.
"""

from theory import ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "reverse-KL gradient flow of a Gaussian mixture, softmax weights"

STATEMENT = r"""
The family $q=\sum_{k=1}^K w_kN(\mu_k, vI)$ and the target $p=\sum_{l=1}^L\pi_lN(\nu_l,uI)$ are mixtures in
$\mathbb R^d$.
The means and the logits $\theta$ of the weights, $w=\mathrm{softmax}\,\theta$, follow the gradient of

$$D=\mathrm{KL}(q\|p)=\sum_k w_k\,E_k[\log q-\log p],\qquad
\dot\mu_k=-\frac{\partial D}{\partial\mu_k},\qquad \dot\theta_k=-\frac{\partial D}{\partial\theta_k}.$$

Along with them come the objective $D$ and the mass of $q$ on mode $l$, $\hat\pi_l=\int q\,\rho_l=\sum_kw_kE_k[\rho_l]$.
With the weights held fixed, drop the equation of $\theta$; with the means held fixed, those of $s$ and $m$.
"""

LIMITS = r"""
- Exact at every $d$, $K$, $L$: nothing is expanded in $1/d$, and overlaps are plain inner products, not
  divided by $d$.
- One variance $v$ for all components of $q$ and one variance $u$ for all modes of $p$; they may differ.
- Continuous time and exact expectations. A simulation with step $h$ and $n$ particles differs by $O(h)$ (explicit
  Euler) and $O(h/n)$ (noise of the gradient), and starts that lie on a basin boundary may be tipped over by that noise.
- Isotropic covariances. For $p$ with a common covariance $S^{-1}$ the same rules end in
  `NotClosed`, which names the statistics that are missing.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    q, p = mixture(), target()
    velocities = gradient_flow(ReverseKL(q, p), weights="softmax")
    return close(velocities)
