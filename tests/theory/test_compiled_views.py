"""The loops behind numba and CUDA: the tangent is the derivative, and the C++ text compiles and agrees with NumPy."""

from __future__ import annotations

import pytest
from sympy import IndexedBase, Symbol, expand, log

from theory import ReverseKL, close, gradient_flow, mixture, target
from theory.emit.loops import Program
from theory.emit.statements import Assign, Expect, Loop, Rate, Statement
from theory.linearise import tangent
from theory.sums import Sigma, index

SYSTEM = close(gradient_flow(ReverseKL(mixture(), target())))
k, j = index("k"), index("j")
K = Symbol("K", integer=True, positive=True)
s, w, A = (IndexedBase(name, real=True) for name in "swA")
d_s, d_w, d_A = (IndexedBase(f"d_{name}", real=True) for name in "swA")


def test_tangent_is_the_product_rule() -> None:
    expr = w[k] * Sigma(A[k, j] * s[j, k] ** 2, (j, 1, K)) + log(Symbol("v", positive=True))
    expected = d_w[k] * Sigma(A[k, j] * s[j, k] ** 2, (j, 1, K)) + w[k] * Sigma(
        d_A[k, j] * s[j, k] ** 2 + 2 * A[k, j] * s[j, k] * d_s[j, k], (j, 1, K)
    )
    derived = tangent(expr, frozenset({"w", "A", "s"}))
    assert expand(derived - expected) == 0
    assert tangent(expr, frozenset()) == 0


def test_tangent_refuses_what_it_does_not_know() -> None:
    node = next(t.value for t in SYSTEM.tables if t.name == "A")
    with pytest.raises(TypeError, match="name the expectation"):
        tangent(node, frozenset({"s"}))


def test_programs_hold_every_equation_once_and_no_sum_inside_an_assignment() -> None:
    program = Program(SYSTEM)
    assigned: list[str] = []
    expectations: list[str] = []
    rates: list[str] = []

    def visit(statement: Statement) -> None:
        if isinstance(statement, Loop):
            for inner in statement.body:
                visit(inner)
        elif isinstance(statement, Assign):
            assert not statement.expr.atoms(Sigma)
            if statement.op == "=":
                assigned.append(str(statement.target.base))
        elif isinstance(statement, Rate):
            rates.append(statement.group)
        else:
            assert isinstance(statement, Expect)
            expectations.append(statement.table)

    for statement in [*program.fixed(), *program.tables(), *program.velocity(), *program.observables()]:
        visit(statement)
    assert sorted(expectations) == ["A", "B"]
    assert rates == ["means", "weights"]
    assert len(assigned) == len(set(assigned))
    assert {"s", "m", "mean_A", "cov_B", "F", "v_x", "v_theta", "D", "mode_mass"} <= set(assigned)


@pytest.mark.parametrize("view", ["numba", "cuda"])
def test_sums_stay_loops(view: str) -> None:
    """Structure is kept: the text does not grow with K and L, which are constants of the compiler."""
    source = SYSTEM.emit(view)
    assert "range(K)" in source or "i < K" in source
    assert len(source.splitlines()) < 500
    assert SYSTEM.hash in source
