"""Without steps the loss of a sampler is the reverse KL of its prior: the gradient flow itself."""

from theory.correspondence import Correspondence, no_steps

TITLE = "learning the prior of a sampler without steps"

STATEMENT = r"""
Without steps and without control $\log W=\log p(x_0)-\log\varphi(x_0)$, and

$$\mathrm{KL}(Q\|P)=-E\log W=\mathrm{KL}(\varphi\|p).$$

Learning the prior is the reverse-KL flow itself.
"""

LIMITS = r"""
- One variance $v$ for the prior and one variance $u$ for the target, as in the flow that it leads to.
"""


def system() -> Correspondence:
    """Let log W telescope, derive the flow that is left, compare."""
    return no_steps()
