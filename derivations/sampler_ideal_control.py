"""With the exact score as control, learning the prior is the gradient flow on the noised target."""

from theory.correspondence import Correspondence, ideal_control

TITLE = "learning the prior under the ideal control"

STATEMENT = r"""
The noising process $B$ is the OU process, the control the exact score of the noised target, so the sampler reverses $B$
exactly and only the prior is wrong. Then path by path $\log W=\log p_T(x_0)-\log\varphi(x_0)$ (with $p$ normalised),
and since $x_0\sim\varphi$,

$$\mathrm{KL}(Q\|P)=-E\log W=\mathrm{KL}(\varphi\|p_T).$$

Learning the prior is the reverse-KL flow on the noised target, whose modes are $e^{-T}\nu_l$ with variance
$1+(u-1)e^{-2T}$. At unit width it is the same family with $R\to Re^{-T}$: the whole phase diagram of the flow, read at
$Re^{-T}$.
"""

LIMITS = r"""
- In continuous time. With $N$ steps the chain differs from its reversal at $O(1/N)$; the [reduced
  chain](sampler_chain.md) is exact at every $N$.
- One variance $v$ for the prior and one variance $u$ for the target, as in the flow that it leads to.
"""


def system() -> Correspondence:
    """Let log W telescope, derive the flow that is left, compare."""
    return ideal_control()
