"""Objectives as text: what is read alike, what is refused and with which words, and names that code can have."""

from __future__ import annotations

import ast
import re

import pytest

from solvers.objective.grammar import ObjectiveError, normal, parse
from solvers.objective.parameter_names import check_parameter
from theory import BETA, ForwardKL, Regulariser, ReverseKL, close, gradient_flow, mixture, objective, target
from theory.vectors import Dot

Q, P = mixture(), target()

ALIKE = {
    "reverse-kl + 3/10 forward-kl": ("0.3*forward-kl+reverse-kl", "(10 reverse-kl + 3forward-kl)/10"),
    "1/2 reverse-kl + 1/2 forward-kl": ("0.5 reverse-kl + 0.5 forward-kl", "5e-1(reverse-kl + forward-kl)"),
    "reverse-kl - lam forward-kl": ("reverse-kl + lam*(forward-kl-2forward-kl)", "-lam forward-kl + reverse-kl(beta)"),
    "reverse-kl(2) + lam sum(w mu.mu)": ("sum(lam mu.mu w)+reverse-kl(2.0)", "lam^2 sum(w mu.mu)/lam + reverse-kl(2)"),
    "forward-kl + sum(w mu.mu)^2": ("forward-kl + sum(w mu.mu) sum(w mu.mu)", "forward-kl + sum(w mu.mu)**2"),
    "reverse-kl + 2 E(x.x)": ("reverse-kl + E(2 x.x)", "reverse-kl + E(x.x) + E(x.x)"),
}  # fmt: skip


@pytest.mark.parametrize("text", ALIKE)
def test_texts_that_differ_in_form_alone_are_read_alike(text: str) -> None:
    assert {normal(other) for other in (text, *ALIKE[text])} == {text}
    assert parse(text) == parse(ALIKE[text][0])


@pytest.mark.parametrize("text", ALIKE)
def test_names_of_objectives_are_their_texts(text: str) -> None:
    assert objective(text).name == text


@pytest.mark.slow
def test_a_text_and_the_same_in_python_are_the_same_system() -> None:
    k, j = Q.indices(2)
    squares = Regulariser(Q, P, Q.sum(Q.weight(k) * Dot(Q.mean(k), Q.mean(k)), k))
    pairs = Regulariser(Q, P, Q.sum(Q.sum(Q.weight(k) * Q.weight(j) * Dot(Q.mean(k), Q.mean(j)), k), j))
    typed = 0.3 * ForwardKL(Q, P) + ReverseKL(Q, P, BETA) + squares / 2 - 2 * pairs
    read = objective("reverse-kl + 0.3 forward-kl + sum(w mu.mu)/2 - 2 sum(w w' mu.mu')")
    other = objective("reverse-kl + 0.3 forward-kl + sum(w mu.mu)/2 - 2 sum(w mu.mu)")
    systems = [close(gradient_flow(o)) for o in (typed, read, other)]
    assert systems[0].hash == systems[1].hash != systems[2].hash


REFUSED = {
    "": "0 characters",
    "reverse-kl $": "character 12: '$' means nothing here",
    "revrse-kl": "a constant, which nothing descends; divergences are reverse-kl and forward-kl",
    "reverse-kl + 1": "1 is a constant",
    "0.3": "3/10 is a constant",
    "reverse_kl": "reverse_kl is a constant, which nothing descends; did you mean reverse-kl? divergences are",
    "forward-kl + 2 lam forwardkl": "did you mean forward-kl? divergences are reverse-kl and forward-kl",
    "reverse-kl +": "character 13: 'the end'; must be a number, a name or a bracket",
    "reverse-kl)": "')' closes nothing",
    "2(reverse-kl": "'the end'; must be ')'",
    "reverse-kl forward-kl": "multiplied by numbers and parameters only",
    "reverse-kl^2": "multiplied by numbers and parameters only",
    "E(x.x) reverse-kl": "multiplied by numbers and parameters only",
    "1/reverse-kl": "division by reverse-kl",
    "reverse-kl/(lam + 1)": "division by 1 + lam",
    "reverse-kl/0": "division by 0",
    "reverse-kl - reverse-kl": "everything cancels",
    "reverse-kl(0)": "must be a number above 0 or a parameter",
    "reverse-kl(-2)": "must be a number above 0 or a parameter",
    "reverse-kl(1)": "must be reverse-kl at temperature 1",
    "entropy(w)": "no function 'entropy'; allowed are sum, E, log, exp, sqrt",
    "reverse-kl + w": "w outside of sum( )",
    "reverse-kl + mu.mu": "outside of sum( ) and E( )",
    "sum(mu)": "mu is a vector; must be an inner product such as mu.mu",
    "sum(x.x)": "x.x inside sum( )",
    "E(mu.mu)": "mu.mu inside E( )",
    "sum(1 + w)": "has no index",
    "sum(w forward-kl)": "forward-kl inside sum( )",
    "log(forward-kl)": "log( ) of a divergence",
    "reverse-kl + lambda sum(w mu.mu)": "parameter 'lambda': means something else",
    "reverse-kl + L2 sum(w mu.mu)": "must be 2 to 30 small letters",
    "sum(w mu.mu)^100": "must be an integer from -12 to 12",
    "reverse-kl + (sum(w) + sum(pi w) + sum(mu.mu) + sum(mu.nu) + sum(w w') + lam)^9": "more than 200 terms",
    "(" * 30 + "reverse-kl" + ")" * 30: "more than 20 brackets in one another",
    "1e999 reverse-kl": "must be a number of double precision",
    "__import__('os')": "means nothing here",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ObjectiveError) as refused:
        parse(text)
    assert REFUSED[text] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def names(text: str) -> set[str]:
    """Variables, functions and arguments of a Python text; all words of a C++ text."""
    if "DEVICE" in text:
        return set(re.findall(r"[A-Za-z_]\w*", re.sub(r"(?m)//.*$", "", text)))
    nodes = list(ast.walk(ast.parse(text)))
    found = {node.id for node in nodes if isinstance(node, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)}
    return found | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.slow
def test_no_parameter_is_called_what_emitted_code_calls_something_else() -> None:
    """Every name in a text that a parameter could have is refused as one."""
    own, seen = "lam_of_mine", set()
    for text in ("reverse-kl", "forward-kl"):
        system = close(gradient_flow(objective(f"{text} + {own} sum(w mu.mu)")))
        for view in set(system.views) & {"numpy", "numba", "cuda"}:
            seen |= names(system.emit(view))
    assert {"gamma", "array_module", "load", own} <= seen
    for name in seen - {own, f"inv_{own}"}:
        with pytest.raises(ValueError, match=r"must be 2 to 30|means something else"):
            check_parameter(name)
    check_parameter(own)
