"""Reverse-KL flow of a Gaussian mixture in its means, its weights, and a variance for each component."""

from theory import ClosedSystem, ReverseKL, close_variances, mixture, target, variance_flow

TITLE = "reverse-KL gradient flow with a variance for each component"

STATEMENT = r"""
The family $q=\sum_{k=1}^K w_kN(\mu_k, v_kI)$ and the target $p=\sum_{l=1}^L\pi_lN(\nu_l,u_lI)$ are mixtures in
$\mathbb R^d$ whose components have variances of their own. Means, weights and variances follow the gradient of
$D=\mathrm{KL}(q\|p)$. The coordinate of a variance is $\log v_k$; the Wasserstein metric is that of the isotropic
Gaussians $N(\mu_k,v_kI)$, each moved at unit mass (Petit-Talamon, Lambert, Korba, NeurIPS 2025):

$$\text{Euclidean:}\quad\frac{d}{dt}\log v_k=-\frac{\partial D}{\partial\log v_k}=-v_k\frac{\partial D}{\partial v_k},
\qquad\text{Wasserstein:}\quad\dot v_k=-\frac{4v_k}{d\,w_k}\frac{\partial D}{\partial v_k}.$$

With weights, means or variances held fixed, drop their equations.

**What is new.** The logits $\ell_j(x)=\log w_j+\log N(x;\mu_j,v_jI)$ contain $|x|^2/v_j$, which leaves no difference of
them, so $x$ does not cancel in $\nabla\log q$: the velocities hold $E_k[x\,r_j]$ and $E_k[|x|^2r_j]$. Seen from
$\mu_k$, a logit is affine in $x-\mu_k$ plus a multiple of $|x-\mu_k|^2$. Stein's lemma at fixed distance then gives
$E_k[x\,r_j]$ as a combination of mean vectors, with coefficients that are expectations in two more dimensions:

$$E_k[(x-\mu_k)f]=v_kE_k[\partial_1f]+2v_kE_k[(x-\mu_k)\,\partial_2f],\qquad f=f(x-\mu_k,|x-\mu_k|^2),$$

and, since $\varrho\,p_N(\varrho)=N\,p_{N+2}(\varrho)$ for the densities of chi-squares, the last term is what turns $d$
into $d+2$: $E_k[(x-\mu_k)f]=v_kE^+_k[\partial_1f]$. In $E^+_k$, $x$ has two more coordinates, in which all means are
zero; weights and logits are those of $\mathbb R^d$.
"""

LIMITS = r"""
- Exact at every $d\ge1$, $K$, $L$. The expectations have as many Gaussian directions as the logits have, at most $K-1$
  and $L-1$, and one chi-square of the other degrees of freedom; none where all variances of a mixture are equal.
- Continuous time and exact expectations: a simulation with step $h$ differs by $O(h)$. The rate of a variance is of
  order $d$, so explicit steps have to be small in high dimension.
- Isotropic components.
- The solver evaluates these expectations on the CPU with NumPy; three and more Gaussian directions cost accuracy, see
  `quadrature_error` in the results.
"""


def system() -> ClosedSystem:
    """State the problem, let the rules run, close."""
    q, p = mixture(own_variances=True), target(own_variances=True)
    return close_variances(variance_flow(ReverseKL(q, p)))
