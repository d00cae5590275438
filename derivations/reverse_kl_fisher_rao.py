"""Reverse-KL gradient flow of an isotropic Gaussian mixture, means by the Euclidean gradient, weights by Fisher–Rao."""

from theory import ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "reverse-KL gradient flow of a Gaussian mixture, Fisher–Rao weights"

STATEMENT = r"""
As in [reverse_kl_flow](reverse_kl_flow.md), but the weights follow the natural gradient on the simplex,

$$\dot w_k=-w_k\Big(\frac{\partial D}{\partial w_k}-\sum_j w_j\frac{\partial D}{\partial w_j}\Big),
\qquad\theta_k=\log w_k .$$

The state is again $\theta$; here it stays normalised by itself, because $\sum_k\dot w_k=0$.
"""

LIMITS = r"""
- Those of [reverse_kl_flow](reverse_kl_flow.md).
- A vanishing weight decays exponentially here, and only like $1/t$ under the softmax flow.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    q, p = mixture(), target()
    velocities = gradient_flow(ReverseKL(q, p), weights="fisher-rao")
    return close(velocities)
