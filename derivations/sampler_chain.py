"""Diffusion samplers between Gaussian mixtures: the reduced chain, its log-weight and its adjoint.

Source: Blessing, Jia, Neumann, arXiv 2503.00524 (2025), for the samplers; the reduction is derived here.
"""

from theory.samplers import ReducedChain, reduce_chain

TITLE = "diffusion samplers with a Gaussian mixture prior, reduced to the span of the means"

STATEMENT = r"""
Samples of the prior $\varphi=\sum_k\alpha_kN(\mu_k,v_kI)$ are carried to the target $p=\sum_l\pi_lN(\nu_l,u_lI)$ in
$\mathbb R^d$ by $N$ steps, $n=0,\dots,N-1$, of lengths $\eta=\eta_n$,

$$x'=x+\eta\,h(n,x)+\sqrt{2\eta}\,\xi,\qquad h=f+u,\qquad g=f+b,$$
$$F(x'|x)=N(x';\,x+\eta h(n,x),\,2\eta I),\qquad B(x|x')=N(x;\,x'+\eta g(n{+}1,x'),\,2\eta I),$$
$$\log W=\log p(x_N)-\log\varphi(x_0)+\sum_n\log\frac{B(x_n|x_{n+1})}{F(x_{n+1}|x_n)},
\qquad E\,W=Z\ \text{at every }N.$$

Reference $f$: OU $-x$; prior $\nabla\log\varphi$; annealed $\beta\nabla\log p+(1-\beta)\nabla\log\varphi$,
$\beta=\beta_n$ from 0 to 1. Control: none; exact, $2(\nabla\log p_\tau+x)$ with $p_\tau$ the target after OU noise for
the time $\tau=\sum_{m\ge n}\eta_m$ that is left; or the score of a mixture $q_\vartheta$ with parameters of its own:
$2(\nabla\log q_{\vartheta,\tau}+x)$ with the OU reference, where $q_\vartheta$ is noised too, and
$\nabla\log q_\vartheta$ with the others.
DIS: $b=0$, MCD: $u=0$, CMCD: $b=-u$, DBS: both free. The loss is $L=-E\log W$, the reverse KL on paths up to $\log Z$.

All drifts are combinations of $x$ and of scores, with coefficients that depend on $n$ only: the table below, which is
emitted with the programs. A score is $\hat a(x)\,x+\sum_k\hat c_k(x)\,\mu_k$ with $\hat a$, $\hat c_k$ functions of
$x\cdot\mu_k$ and $|x|^2$; it adds $\gamma$ times these to $a$ and $c$ of the forward drift, $\gamma'$ times to $a'$ and
$c'$ of the backward one, and $\gamma_W\Lambda$ to $\log W$, $\gamma_W=-1$ for $\varphi$ at $x_0$ and $1$ for $p$ at
$x_N$. So the coordinates $x_b$ in the span of all means ($b=1..R$) and $\varrho=|x_\perp|^2$ are a
Markov chain, and $\log W$ is a function of it. Parallel to $x_\perp$ the noise is $\xi_1$; the rest of it enters
through $C=|\zeta|^2\sim\chi^2_{d-R-1}$.

What is of order $d$ and cancels in $\log W$ is left out before it is computed, so that $d=10^{12}$ costs no digit that
is looked at. Log-densities $\Lambda$ are those of mixtures over $(2\pi B)^{-d/2}e^{-\varrho/2B}$, $B$ any variance: the
first factor cancels between $p$ and $\varphi$, the second is put back step by step, as $-(\varrho'-\varrho)/2B$ in the
increment $\Delta$. There $|\epsilon|^2/4\eta$, the squared residual of the backward kernel, and $|\xi|^2/2$ are not
subtracted either: with $1-(1+\eta a)(1+\eta a')=-\eta(a+a'+\eta aa')=-\eta S$ the residual is
$-\eta D-\sqrt{2\eta}\,g'\xi$, $D=Sx+g'H+H'$, and nothing is divided by $\eta$.

Where every mixture has one variance, $a$ and $a'$ depend on $n$ only, and each direction orthogonal to the span is a
Gaussian chain of its own: `across` is one of them. $E\,W^m$ of one is an integral over one normal number after the
other, from the last step to the first: what is left of it after a step is $e^{Ax'^2/2}$, and `moment` says what the
step makes of $A$, with two derivatives in $m$; the start is a step with $g=o=p=q=0$, $s^2$ the variance of $x_0$.

The adjoints give $\partial L$ along paths, and the slopes those in numbers that all paths share, where these are
learned: in $\eta_n$ of a step (in its move, in both of its kernels, and in $\tau$) and in the coefficients $\gamma$,
which depend on $\beta_n$. Where the prior is in no drift it enters by the law of $x_0$ alone, and
since $E\,\partial\log\varphi(x_0)=0$,

$$\partial_\lambda L=\sum_k\alpha_kE_k\big[(-\log W-b)\,\partial_\lambda\log N(x_0;\mu_k,v_kI)\big],
\qquad \partial_{\alpha_k}L=E_k[-\log W]\ \text{up to a constant},$$

with any $b$ that does not depend on $x_0$; `law` is that density.

That is one case of $\partial E_Q[f]=E_Q[f\,\partial\log Q]+E_Q[\partial f]$, $Q$ the law of paths, derived below
with what follows from it for three losses, of $L=\log Q-\log\tilde P=-\log W$: $E_Q[L]$,
$\frac12\operatorname{Var}_rL$ and $\frac12E_r[(L+c)^2]$, $r$ a law of paths that is not differentiated. On the
sampler's own paths, $r=Q$, all three have the gradient $E_Q[(L-E_QL)\,\partial\log Q]$ in what enters $\varphi$ and
$F$ only, whatever $c$ is; they differ in what enters $B$, by $-E_Q[\omega\,\partial\log B]$ with $\omega=1$,
$L-E_QL$ and $L+c$. So $c$ moves to $-E_QL$ there, and a flow of $c$ that is fast makes the third the second. `fixed`
has the derivatives of both kernels at fixed $x$, $x'$ in the drifts, $\omega_F$ and $\omega_B$ what multiplies
$\log F$ and $\log B$; `score` pulls them back to parameters.
"""

LIMITS = r"""
- Exact at every $d\ge R$, every step size and every number of steps. At $d=R$ there is no orthogonal direction
  ($\varrho=\xi_1=C=0$), at $d=R+1$ there is one ($C=0$).
- Isotropic components; their variances may all differ. For anything else `NotClosed` names what is missing.
- Drifts that are not in the span of $x$ and the means (a neural control) have no reduced chain.
- The adjoint is the derivative of one path at fixed noise $(\xi,\xi_1,C)$, whose law does not depend on any parameter.
"""


def system() -> ReducedChain:
    """Decompose the scores, split every inner product, differentiate in reverse."""
    return reduce_chain()
