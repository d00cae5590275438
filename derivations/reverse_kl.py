"""Reverse-KL flow of an isotropic Gaussian mixture under the Wasserstein metric, alone and with Fisher–Rao weights."""

from theory import ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "reverse-KL gradient flow of a Gaussian mixture"

STATEMENT = r"""
As in [reverse_kl_flow](reverse_kl_flow.md), $D=\mathrm{KL}(q\|p)=\sum_kw_kE_k[\log q-\log p]$, in another metric.
"""

LIMITS = r"""
- Those of [reverse_kl_flow](reverse_kl_flow.md).
- Each component is transported as a whole: means move, variances stay (their own mobility is $4v_k/(d\,w_k)$).
- With the Wasserstein metric the means of light components are as fast as those of heavy ones; with Fisher–Rao weights
  this is the Wasserstein–Fisher–Rao flow, restricted to mixtures of components that keep their shape.
"""

FLOWS = [("softmax", "wasserstein"), ("fisher-rao", "wasserstein")]


def system(weights: str, metric: str) -> ClosedSystem:
    """State the problem, let the rules run, close."""
    return close(gradient_flow(ReverseKL(mixture(), target()), weights=weights, metric=metric))
