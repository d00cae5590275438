"""Differentiation of fields and of expectations with respect to x, to a mean vector or to a weight."""

from __future__ import annotations

from sympy import Add, Expr, Function, Indexed, KroneckerDelta, Mul, Pow, S, Symbol, expand, factor_terms

from theory.expectations import Expectation, Gradient
from theory.mixtures import LogDensity, Responsibility
from theory.sums import LETTERS, Sigma, rename_bound
from theory.vectors import POINT, Dot, Image, Mean, Point, Vector

__all__ = ["differentiate", "open_log_sum_exp", "reparametrise"]


def _same(atom: Expr, y: Expr) -> Expr:
    """∂atom/∂y as a Kronecker delta (times the identity of R^d for vectors)."""
    if isinstance(atom, Point) and isinstance(y, Point):
        return S.One
    if isinstance(atom, Symbol) and atom == y:
        return S.One
    if isinstance(atom, Mean) and isinstance(y, Mean) and atom.name == y.name:
        return KroneckerDelta(atom.index, y.index)
    if isinstance(atom, Indexed) and isinstance(y, Indexed) and atom.base == y.base:
        out = S.One
        for i, j in zip(atom.indices, y.indices, strict=True):
            out *= KroneckerDelta(i, j)
        return out
    return S.Zero


def differentiate(f: Expr, y: Expr) -> Expr:
    """∂f/∂y for a scalar f built from inner products, weights and elementary functions.

    Expectations and log-densities are left as `Gradient` nodes: they have rules of their own.
    """
    if f.is_number:
        return S.Zero
    if isinstance(f, Add):
        return Add(*(differentiate(a, y) for a in f.args))
    if isinstance(f, Mul):
        return Add(*(Mul(*f.args[:i], differentiate(a, y), *f.args[i + 1 :]) for i, a in enumerate(f.args)))
    if isinstance(f, Pow):
        return f.exp * f.base ** (f.exp - 1) * differentiate(f.base, y)
    if isinstance(f, Sigma):
        f = rename_bound(f, y)
        return Sigma(differentiate(f.function, y), f.limits)
    if isinstance(f, Dot):
        out = S.Zero
        for a, b in (f.args, f.args[::-1]):
            operator, atom, power = (a.args[0], a.args[1], a.args[2]) if isinstance(a, Image) else (None, a, 0)
            delta = _same(atom, y)
            out += delta * (Image(operator, b, power) if power else b) if delta != 0 else 0
        return out
    if isinstance(f, Expectation | LogDensity | Responsibility):
        return Gradient(f, y)
    if isinstance(f, Function):
        return Add(*(f.fdiff(i + 1) * differentiate(a, y) for i, a in enumerate(f.args)))
    if isinstance(f, Vector):
        raise ValueError(f"{f} is a vector; only scalars are differentiated here")
    return _same(f, y)


def reparametrise(node: Gradient) -> Expr:
    """x = mean_k + √v z makes E_k an expectation over a fixed law of z, so the derivative moves inside:
    ∂E_k[f]/∂mean_a = δ_ka E_k[∇f] + E_k[∂f/∂mean_a] and ∂E_k[f]/∂v_a = δ_ka E_k[(x−mean_k)·∇f]/2v_k + E_k[∂f/∂v_a]."""
    if not isinstance(node.f, Expectation):
        return differentiate(node.f, node.y)
    f, y = node.f, node.y
    out = Expectation(f.mixture, f.component, Gradient(f.integrand, y))
    if isinstance(y, Indexed) and isinstance(f.mixture.variance(f.component), Indexed):
        v = f.mixture.variance(f.component)
        arm = Dot(POINT - f.mixture.mean(f.component), Gradient(f.integrand, POINT))
        out += _same(v, y) * Expectation(f.mixture, f.component, arm) / (2 * v)
    if isinstance(y, Mean) and y.name == f.mixture.mean_name:
        out += KroneckerDelta(f.component, y.index) * Expectation(f.mixture, f.component, Gradient(f.integrand, POINT))
    return out


def open_log_sum_exp(node: Gradient) -> Expr:
    """∂ log Σ_j exp ℓ_j = Σ_j r_j ∂ℓ_j and ∂r_i = r_i (∂ℓ_i − Σ_j r_j ∂ℓ_j); other fields by the usual rules."""
    f, y = node.f, node.y
    if not isinstance(f, LogDensity | Responsibility):
        return differentiate(f, y)
    mixture = f.args[0]
    taken = f.free_symbols | y.free_symbols
    j = next(i for i in mixture.indices(len(LETTERS[mixture.name])) if i not in taken)
    mean = mixture.sum(Responsibility(mixture, j) * factor_terms(expand(differentiate(mixture.logit(j), y))), j)
    if isinstance(f, LogDensity):
        return mean
    return f * (differentiate(mixture.logit(f.args[1]), y) - mean)
