"""Forward-KL gradient flow of an isotropic Gaussian mixture: maximum likelihood on the target's own samples."""

from theory import ClosedSystem, ForwardKL, close, gradient_flow, mixture, target

TITLE = "forward-KL gradient flow of a Gaussian mixture"

STATEMENT = r"""
The family $q=\sum_{k=1}^K w_kN(\mu_k, vI)$ descends

$$D=\mathrm{KL}(p\|q)=\sum_l\pi_l\,E_l[\log p-\log q],$$

where $E_l$ is the expectation under mode $l$ of the target $p=\sum_{l=1}^L\pi_lN(\nu_l,uI)$, $x\sim N(\nu_l,uI)$.
Integration by parts of $E_l[r_kx]$ leaves second moments of responsibilities, $E_l[r_kr_j]$: averages over the logits
that give $E_l[r_k]$, in no more directions than these.
"""

LIMITS = r"""
- Exact at every $d$, $K$, $L$; one variance $v$ for $q$, one variance $u$ for $p$, which may differ.
- Continuous time and exact expectations under $p$. In practice samples of $p$ are what one does not have.
- Forward KL covers modes: the weight of a component that serves a mode cannot vanish. But it has stationary points in
  which two components share a mode and one stands between two others.
- With the Wasserstein metric the velocity of $\mu_k$ contains $1/w_k$ times responsibilities, which vanish together;
  below $w_k\approx10^{-300}$ their ratio is lost.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    return close(gradient_flow(ForwardKL(mixture(), target())))
