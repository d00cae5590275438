"""Rules for logits that contain |x|²: Stein's lemma at fixed distance, and the joint law of the logits."""

from __future__ import annotations

from sympy import Add, Expr, Lambda, Mul, S, expand

from theory.calculus import differentiate
from theory.expectations import Expectation, depends_on_x
from theory.mixtures import DIMENSION, LogDensity, Mixture, Responsibility
from theory.radial import RadialExpectation, Raised, Slope, SquaredDistance
from theory.rules.derivatives import move_inside
from theory.rules.logits import split_common
from theory.rules.rule import Rule, bottom_up
from theory.rules.stein import linear_in_x
from theory.rules.widths import widths
from theory.sums import LETTERS, Sigma, index, substitute
from theory.vectors import POINT, Dot, vector_terms

__all__ = ["ABOUT_THE_MEAN", "EXCESS_WIDTH", "RADIAL_LAW", "RAISED_STEIN", "REPARAMETRISE_WIDTHS"]


def _free(mixture: Mixture, *taken: Expr, count: int = 1) -> list[Expr]:
    """The first `count` index letters of the mixture's side that are free in none of the expressions."""
    used = set().union(*(e.free_symbols for e in taken))
    return [index(letter) for letter in LETTERS[mixture.name] if index(letter) not in used][:count]


def _isotropic(*mixtures: Mixture) -> bool:
    return not any(m.precision for m in mixtures)


def _slope_at_mean(node: Expectation, mixture: Mixture, i: Expr) -> Expr:
    """∇ℓ_i(mean_k): the gradient of a logit at x is this and a multiple of x − mean_k."""
    return differentiate(mixture.logit(i), POINT).xreplace({POINT: node.mixture.mean(node.component)})


def about_the_mean(expr: Expr) -> Expr:
    """|x|² r_j = (|x − mean_k|² − d v_k + d v_k + 2 x·mean_k − |mean_k|²) r_j under component k."""

    def rewrite(node: Expectation) -> Expr:
        f, square, mean = node.integrand, Dot(POINT, POINT), node.mixture.mean(node.component)
        if not f.atoms(Responsibility) or square not in Mul.make_args(f):
            return node
        v = node.mixture.variance(node.component)
        terms = (SquaredDistance(mean, v), DIMENSION * v, 2 * Dot(POINT, mean), -Dot(mean, mean))
        return sum((Expectation(node.mixture, node.component, f / square * t) for t in terms), S.Zero)

    return bottom_up(expr, rewrite, Expectation)


def excess_width(expr: Expr) -> Expr:
    """Σ_j E_k[r_j] d/v_j = d/v_k + Σ_j E_k[r_j] d (1/v_j − 1/v_k): what is left of d vanishes where widths agree."""

    def rewrite(term: Expr) -> Expr:
        if DIMENSION not in term.free_symbols:
            return term
        for sum_ in term.atoms(Sigma):
            averages = sum_.function.atoms(Expectation)
            if len(averages) != 1 or not isinstance((average := next(iter(averages))).integrand, Responsibility):
                continue
            mixture, j = average.integrand.args
            width, own = mixture.variance(j), average.mixture.variance(average.component)
            if sum_.index == j and expand(sum_.function * width - average) == 0:
                return term / sum_ * (1 / own + Sigma(average * (1 / width - 1 / own), sum_.limits))
        return term

    return expand(Add(*(rewrite(term) for term in Add.make_args(expand(expr)))))


def raised_stein(expr: Expr) -> Expr:
    """E_k[x r_j] = mean_k E_k[r_j] + v_k Σ_i E_k^+[∂r_j/∂ℓ_i] ∇ℓ_i(mean_k); the same for x·b instead of x.

    r_j is a function f(y, |y|²) of y = x − mean_k, linear fields of y and |y|². Stein gives E[y f] = v_k E[∂_1 f] +
    2 v_k E[y ∂_2 f], and integration by parts in |y|² turns the second term into E[y f] in d − 2 dimensions: all in all
    E_d[y f] = v_k E_{d+2}[∂_1 f], the gradient at fixed |y|².
    """

    def rewrite(node: Expectation) -> Expr:
        for factor in Mul.make_args(node.integrand):
            r, b = node.integrand / factor, linear_in_x(factor)
            if not isinstance(r, Responsibility) or (factor != POINT and b is None):
                continue
            mixture, j = r.args
            if not _isotropic(mixture, node.mixture):
                return node
            k, mean = node.component, node.mixture.mean(node.component)
            (i,) = _free(mixture, node)
            direction = _slope_at_mean(node, mixture, i)
            if b is not None:
                mean, direction = Dot(mean, b), Dot(direction, b)
            change = mixture.sum(Raised(node.mixture, k, Slope(mixture, j, i)) * direction, i)
            return mean * Expectation(node.mixture, k, r) + node.mixture.variance(k) * change
        return node

    return bottom_up(expr, rewrite, Expectation)


def radial_law(expr: Expr) -> Expr:
    """Expectations of log-densities and responsibilities over the joint law of their logits under component k."""

    def rewrite(node: Expectation | Raised) -> Expr:
        f, k, v = node.integrand, node.component, node.mixture.variance(node.component)
        distance = SquaredDistance(node.mixture.mean(k), v)
        field = f / distance if distance in Mul.make_args(f) else f
        if not isinstance(field, LogDensity | Responsibility | Slope) or not _isotropic(node.mixture, field.args[0]):
            return node
        mixture, entries = field.args[0], field.args[1:]
        i, j = _free(mixture, k, *entries, count=2)
        common, logits = split_common(Lambda(j, mixture.logit(j)))
        if depends_on_x(common):
            return node
        gradient = _slope_at_mean(node, mixture, j)
        # ∇ℓ_j is a vector plus a multiple of x: the multiple is ∇∇ℓ_j, times the identity.
        second = sum(c for c, atom in vector_terms(differentiate(mixture.logit(j), POINT)) if atom == POINT)
        # The logits where |z|² has its mean, d; then what they share once more.
        at_mean = expand(logits.expr.xreplace({POINT: node.mixture.mean(k)})) + DIMENSION * v * second / 2
        shared, logits = split_common(Lambda(j, widths(at_mean)))
        common += shared
        laws = (
            logits,
            Lambda((i, j), expand(v * Dot(substitute(gradient, j, i), gradient))),
            Lambda(j, v * second / 2),
        )
        if isinstance(field, LogDensity):
            return common + RadialExpectation("logsumexp", *laws, mixture.size, DIMENSION)
        if isinstance(field, Slope):
            return RadialExpectation("slope", *laws, mixture.size, DIMENSION, *entries)
        if field is not f:
            return v * RadialExpectation("radius", *laws, mixture.size, DIMENSION, *entries)
        return RadialExpectation("softmax", *laws, mixture.size, DIMENSION, *entries)

    return bottom_up(expr, rewrite, (Expectation, Raised))


REPARAMETRISE_WIDTHS = Rule(
    "Reparametrisation",
    r"x=\mu_k+\sqrt{v_k}\,z:\quad \partial_{\mu_a}E_k[f]=\delta_{ka}E_k[\nabla f]+E_k[\partial_{\mu_a}f],\quad "
    r"\partial_{v_a}E_k[f]=\delta_{ka}\tfrac1{2v_k}E_k[(x-\mu_k)\cdot\nabla f]+E_k[\partial_{v_a}f],\quad "
    r"\partial_{w_a}E_k[f]=E_k[\partial_{w_a}f],\quad \partial(w_kE_k)=E_k\,\partial w_k+w_k\,\partial E_k",
    move_inside,
)
ABOUT_THE_MEAN = Rule(
    "Square about the mean", r"|x|^2=(|x-\mu_k|^2-d\,v_k)+d\,v_k+2\,x\cdot\mu_k-|\mu_k|^2", about_the_mean
)
EXCESS_WIDTH = Rule(
    "Partition of d",
    r"\textstyle\sum_jr_j=1:\quad\sum_jE_k[r_j]\,d/v_j=d/v_k+\sum_jE_k[r_j]\,d\,(1/v_j-1/v_k)",
    excess_width,
)
RAISED_STEIN = Rule(
    "Stein at fixed distance",
    r"E_k[x\,r_j]=\mu_kE_k[r_j]+v_k\textstyle\sum_iE^+_k[\partial r_j/\partial\ell_i]\,\nabla\ell_i(\mu_k),\quad "
    r"\partial r_j/\partial\ell_i=r_j(\delta_{ji}-r_i)",
    raised_stein,
)
RADIAL_LAW = Rule(
    "Law of the logits",
    r"x=\mu_k+\sqrt{v_k}\,z:\quad \ell_j(x)=\ell_j(\mu_k)+\sqrt{v_k}\,\nabla\ell_j(\mu_k)\cdot z"
    r"+\tfrac{v_k}2\ell_j''\,|z|^2\ \text{exactly},\quad \nabla\nabla\ell_j=\ell_j''\,I,\quad |z|^2=d+(|z|^2-d);"
    r"\quad\text{widths: }x=1+\log x+2h(x)",
    radial_law,
)
