"""With the prior tied to the mixture whose noised score is the control, learning is the gradient flow on the target."""

from theory.correspondence import Correspondence, tied_control

TITLE = "learning a prior that is tied to the control"

STATEMENT = r"""
The control is the score of a mixture $q_\vartheta$ under OU noise and the prior is that mixture noised to the horizon,
$\varphi=q_{\vartheta,T}$. The sampler then reverses the noising of $q_\vartheta$ exactly and its samples are those of
$q_\vartheta$, so path by path $\log W=\log p(x_N)-\log q_\vartheta(x_N)$ and

$$\mathrm{KL}(Q\|P)=-E\log W=\mathrm{KL}(q_\vartheta\|p).$$

Learning $\vartheta$ is the reverse-KL flow itself, with $s$, $m$, $v$ the overlaps and the variance of $q_\vartheta$;
those of the prior are $e^{-2T}s$, $e^{-T}m$ and $1+(v-1)e^{-2T}$.
"""

LIMITS = r"""
- In continuous time. With $N$ steps the chain differs from its reversal at $O(1/N)$; the [reduced
  chain](sampler_chain.md) is exact at every $N$.
- One variance $v$ for the prior and one variance $u$ for the target, as in the flow that it leads to.
"""


def system() -> Correspondence:
    """Let log W telescope, derive the flow that is left, compare."""
    return tied_control()
