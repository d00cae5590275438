"""The closed system: the paper's equations typed in, any K and L, the Jacobian, and what does not close."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import IndexedBase, Integer, Rational, Symbol, expand, simplify

from theory import NotClosed, ReverseKL, close, gradient_flow, mixture, target
from theory.concrete import ConcreteSystem
from theory.divergence import WidthDivergence
from theory.mixtures import DIMENSION
from theory.sums import Sigma, index
from theory.system import ClosedSystem

FLOW = close(gradient_flow(ReverseKL(mixture(), target())))
SOFTMAX, FISHER_RAO = FLOW.under(), FLOW.under(weights=1)
FIXED = SOFTMAX.held("theta")

k, j, i, l, n = (index(letter) for letter in "kjiln")
s, m, c, w, A, B, F = (IndexedBase(name, real=True) for name in "smcwABF")
w = mixture().weights
K, L = (Symbol(name, integer=True, positive=True) for name in "KL")
v, u = Symbol("v", positive=True), Symbol("u", positive=True)


def same(system: ClosedSystem, derived: object, typed: object, sizes: tuple[int, int], free: dict[object, int]) -> bool:
    """Equality by algebra at concrete K, L, with tables as free symbols."""
    concrete = _Plain(system, *sizes)
    return bool(expand(concrete.write_out(derived, free) - concrete.write_out(typed, free)) == 0)


class _Plain(ConcreteSystem):
    """Tables and weights as plain symbols."""

    def _indexed(self, name: str, indices: list[int]) -> Symbol:
        return Symbol(name + "".join(map(str, sorted(indices) if name in "sc" else indices)))


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (3, 2), (2, 4)])
def test_equations_of_motion_of_the_paper(sizes: tuple[int, int]) -> None:
    """Soletskyi et al. (2025), means under the reverse KL; v, u from section 3 of the theory."""
    # μ̇_k·y with μ̇_k = −w_k( −(μ_k − Σ_j A_kj μ_j)/v + (μ_k − Σ_l B_kl ν_l)/u ), y = μ_i and y = ν_l
    gamma = -w[k] * (
        -(s[k, i] - Sigma(A[k, j] * s[j, i], (j, 1, K))) / v + (s[k, i] - Sigma(B[k, l] * m[i, l], (l, 1, L))) / u
    )
    dm = -w[k] * (
        -(m[k, l] - Sigma(A[k, j] * m[j, l], (j, 1, K))) / v + (m[k, l] - Sigma(B[k, n] * c[n, l], (n, 1, L))) / u
    )
    mean = Sigma(w[j] * F[j], (j, 1, K))
    for a in range(1, sizes[0] + 1):
        for b in range(1, sizes[0] + 1):
            assert same(FIXED, FIXED.gamma, gamma, sizes, {k: a, i: b})
        for b in range(1, sizes[1] + 1):
            assert same(FIXED, FIXED.equations["m"], dm, sizes, {k: a, l: b})
        assert same(SOFTMAX, SOFTMAX.equations["theta"], -w[k] * (F[k] - mean), sizes, {k: a})
        assert same(FISHER_RAO, FISHER_RAO.equations["theta"], -(F[k] - mean), sizes, {k: a})
    # control: the same comparison sees a sign and a factor of two
    assert not same(FIXED, FIXED.gamma, -gamma, sizes, {k: 1, i: 1})
    assert not same(SOFTMAX, SOFTMAX.equations["theta"], -2 * w[k] * (F[k] - mean), sizes, {k: 1}) or sizes == (1, 1)


def test_two_modes_two_components_are_one_dimensional() -> None:
    """Section 3: mean and variance of the logit of r_1 and of ρ_+ for K = 2, ±ν, unit variances, typed in."""
    tables = {t.name: t for t in FIXED.tables}
    concrete = ConcreteSystem(FIXED, 2, 2)
    for name in ("A", "B"):
        node = concrete.write_out(tables[name].value, {k: 1, j: 1, l: 1})
        _, mean, cov = node.args
        assert mean[1] == 0
        assert all(cov[1, h] == 0 for h in range(2))
        R, m1 = Symbol("R", real=True), Symbol("m11", real=True)
        unit = {Symbol("v", positive=True): 1, Symbol("u", positive=True): 1}
        symbol = {str(x): x for x in mean[0].free_symbols | cov[0, 0].free_symbols}
        if name == "A":
            s11, s12, s22 = (symbol[x] for x in ("s11", "s12", "s22"))
            from sympy import log

            logit = log(symbol["w1"]) - log(symbol["w2"]) + s11 - s12 - (s11 - s22) / 2
            variance = s11 - 2 * s12 + s22
        else:
            from sympy import log

            opposite = {symbol["c11"]: R**2, symbol["c22"]: R**2, symbol["c12"]: -(R**2), symbol["m12"]: -m1}
            unit |= opposite
            logit = log(symbol["pi1"]) - log(symbol["pi2"]) + 2 * m1
            variance = 4 * R**2
        assert simplify(mean[0].subs(unit) - logit.subs(unit)) == 0
        assert simplify(cov[0, 0].subs(unit) - variance) == 0


def test_unit_variances_cancel_the_mean_itself() -> None:
    """v = u = 1: dμ_k/dt = −w_k(Σ_j A_kj μ_j − Σ_l B_kl ν_l); nothing of μ_k is left on its own."""
    unit = FIXED.gamma.subs({v: 1, u: 1})
    typed = -w[k] * (Sigma(A[k, j] * s[j, i], (j, 1, K)) - Sigma(B[k, l] * m[i, l], (l, 1, L)))
    assert same(FIXED, unit, typed, (2, 2), {k: 1, i: 2})


VALUES = {
    "s11": 0.9, "s12": 0.2, "s22": 1.1, "m11": 0.7, "m12": -0.3, "m21": -0.5, "m22": 0.4,
    "theta1": 0.2, "theta2": -0.3, "c11": 1.2, "c12": -0.4, "c22": 0.8, "pi1": 0.35, "pi2": 0.65,
    "v": 0.8, "u": 1.3, "d": 5.0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("system", [SOFTMAX, FISHER_RAO], ids=["softmax", "fisher-rao"])
def test_jacobian_by_price_equals_finite_differences(system: ClosedSystem) -> None:
    concrete = system.at(2, 2)
    jacobian = concrete.evaluate(system.jacobian(2, 2), VALUES)
    step = 1e-4

    def rhs(values: dict[str, float]) -> np.ndarray:
        from sympy import Matrix

        return concrete.evaluate(Matrix(list(concrete.equations.values())), values).ravel()

    for column, state in enumerate(concrete.states):
        shifted = [rhs(VALUES | {state.name: VALUES[state.name] + f * step}) for f in (-2, -1, 1, 2)]
        slope = (shifted[0] - 8 * shifted[1] + 8 * shifted[2] - shifted[3]) / (12 * step)
        # fourth-order differences: truncation h⁴ ~ 1e-16, rounding 1e-15/h ~ 1e-11
        np.testing.assert_allclose(jacobian[:, column], slope, rtol=1e-8, atol=1e-9)
    assert np.max(np.abs(jacobian)) > 0.1


@pytest.mark.slow
def test_jacobian_of_a_third_component_contains_products_of_responsibilities() -> None:
    concrete = FIXED.at(3, 2)
    assert len(concrete.states) == len(concrete.equations) == 12
    # One row of an overlap of two components, one of an overlap with a mode: the others are the same but for indices.
    equations = {y.name: rhs for y, rhs in concrete.equations.items()}
    rows = [equations[name].diff(y) for name in ("s12", "m11") for y in concrete.states]
    powers = {tuple(node.args[0]) for entry in rows for node in entry.atoms(type(_node(concrete)))}
    assert (1, 1, 1) in powers or (2, 1, 0) in powers


def _node(concrete: ConcreteSystem) -> object:
    tables = {t.name: t for t in concrete.system.tables}
    return concrete.write_out(tables["A"].value, {k: 1, j: 1})


def test_reading_and_computing_agree() -> None:
    """Index notation for reading, concrete symbols for computing: the same numbers as quadrature in R^d."""
    from theory.configuration import Configuration
    from theory.expectations import Expectation
    from theory.mixtures import Responsibility
    from theory.parameters import rate
    from theory.quadrature import evaluate
    from theory.vectors import Dot

    at = Configuration.random(K=2, L=2)
    gram, q = at.gram(), mixture()
    values = {f"s{a}{b}": gram[a - 1, b - 1] for a, b in ((1, 1), (1, 2), (2, 2))}
    values |= {f"m{a}{b}": gram[a - 1, b + 1] for a in (1, 2) for b in (1, 2)}
    values |= {f"c{a}{b}": gram[a + 1, b + 1] for a, b in ((1, 1), (1, 2), (2, 2))}
    values |= {f"pi{a}": at.weights["pi"][a - 1] for a in (1, 2)}
    values |= {f"w{a}": at.weights["w"][a - 1] for a in (1, 2)}
    values |= {"v": at.symbols["v"], "u": at.symbols["u"], "d": at.symbols["d"]}
    flow = gradient_flow(ReverseKL(q, target()))
    velocity = flow.mean.xreplace({rate("means", k): q.weight(k)})
    concrete = FIXED.at(2, 2)
    for state, rhs in concrete.equations.items():
        if state.name.startswith("m"):
            a, b = int(state.name[1]), int(state.name[2])
            inner = Dot(velocity, target().mean(b)).subs(k, Integer(a))
            assert not inner.has(k) or isinstance(inner, Expectation)
            direct = evaluate(inner, at).item()
            assert concrete.evaluate(rhs, values).item() == pytest.approx(direct, abs=1e-9)
    assert Responsibility(q, 1) != Responsibility(q, 2)


def test_anisotropic_target_does_not_close_and_says_what_is_missing() -> None:
    with pytest.raises(NotClosed) as caught:
        close(gradient_flow(ReverseKL(mixture(), target(precision="S"))))
    assert set(caught.value.missing) == {"μ·Sμ", "μ·Sν", "ν·Sν", "ν·S²ν"}
    assert "ν·Sν" in str(caught.value)
    assert "scalar variance" in str(caught.value)


def test_observables_come_from_the_same_derivation() -> None:
    assert same(
        SOFTMAX,
        SOFTMAX.observables["objective"],
        Sigma(w[k] * F[k], (k, 1, K)) + DIMENSION * WidthDivergence(v / u),
        (3, 2),
        {},
    )
    assert same(SOFTMAX, SOFTMAX.observables["mode_mass"], Sigma(w[k] * B[k, l], (k, 1, K)), (3, 2), {l: 2})
    assert SOFTMAX.states == ("s", "m", "theta")
    assert FIXED.states == ("s", "m")


def test_hash_follows_the_dynamics() -> None:
    again = close(gradient_flow(ReverseKL(mixture(), target())))
    assert again.hash == FLOW.hash
    assert len({FLOW.hash, SOFTMAX.hash, FISHER_RAO.hash, FIXED.hash}) == 4
    from dataclasses import replace

    half = replace(SOFTMAX, gamma=SOFTMAX.gamma * Rational(1, 2))
    assert half.hash != SOFTMAX.hash


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="variances"):
        FLOW.under(variances=1)
    with pytest.raises(ValueError, match="latex, text, numpy"):
        SOFTMAX.emit("fortran")
