"""Stochastic gradient descent on the (tempered) reverse KL: what steps and finite batches add to the equations."""

from theory import BETA, ClosedSystem, ReverseKL, close, gradient_flow, mixture, target

TITLE = "reverse-KL stochastic gradient descent of a Gaussian mixture, finite batches"

STATEMENT = r"""
One step of length $\eta$ moves $\mu_k$ by $\eta\hat g_k$: minus the mean of the gradient $g=\nabla(\log q-\beta\log p)$
over $N$ fresh samples of component $k$, times the rate of $\mu_k$. Overlaps are quadratic in the means,
so they change by $\eta$ times the drift of the flow ([reverse_kl](reverse_kl.md)) and by

$$\eta^2\,E[\hat g_k\cdot\hat g_i]=\eta^2\Big(\dot\mu_k\cdot\dot\mu_i+\delta_{ki}\,\frac{\Xi_k}{N}\Big),\qquad
\Xi_k\propto E_k|g|^2-|E_kg|^2,$$

which closes by the same rules: $Q_k=E_k|g|^2$ needs second moments of responsibilities, within $q$, within $p$ and
between both. Below, $\dot s$ is the mean change of $s$ by one step, divided by $\eta$, and
$V_{ki}=\dot\mu_k\cdot\dot\mu_i$; $\dot m$ and $\dot\theta$ have no term of that order.
"""

LIMITS = r"""
- The equations are those of steps: iterate them with step $\eta$. As a differential equation they would count the
  deterministic part of the second order twice, $\eta^2\dot\mu_k\cdot\dot\mu_i$ and the curvature of the flow.
- Means over the noise: $s$, $m$, $\theta$ follow their mean change, their fluctuations, of relative order
  $\sqrt{\eta/N}$, are left out. Near a basin boundary these decide where a single run ends.
- The mean of $\log w$ after a step with noise is that of $\theta$; the noise of the weights themselves is left out.
- The gradient of a sample is that of $\log q-\beta\log p$ at the sample, by reparametrisation; the derivative of
  $\log q$ in its own parameters has mean zero and is left out, as usual.
- Only expectations under $q$: with the forward KL all components share the samples of $p$.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    return close(gradient_flow(ReverseKL(mixture(), target(), BETA), batch=True))
