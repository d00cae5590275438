"""Both kernels of a step at a path that stays where it is: their derivatives in the drifts, program `fixed`.

An expectation over paths of a law that is not differentiated (theory/likelihood_ratio.py) asks for these: x and x' are
given, so that nothing is pulled back from one step to the one before.
"""

from __future__ import annotations

from sympy import Expr, Symbol, expand, sqrt

from theory.calculus import differentiate
from theory.derivation import Step
from theory.expectations import Gradient
from theory.frames import BACK, NEW, NOISE, PULL, coordinate, dot, orthogonal
from theory.path_steps import FIXED, KERNELS, PathStep
from theory.programs import SIZES, Assign, Program, array
from theory.rules import linearity
from theory.sums import Sigma, index
from theory.vectors import POINT, Dot

__all__ = ["fixed_path"]

b, R = index("b"), SIZES["b"]


def fixed_path(eta: Symbol, steps: list[Step]) -> Program:
    """by_f log F(x'|x) + by_b log B(x|x') at x and x' as they are; how the derivatives come about goes to `steps`."""
    shrink_f, shrink_b = array("shrink_f"), array("shrink_b")
    h = shrink_f * POINT + PULL
    new = expand(POINT + eta * h + sqrt(2 * eta) * NOISE)
    residuals = {"f": NEW - POINT - eta * h, "b": POINT - NEW - eta * (shrink_b * NEW + BACK)}
    slopes = {
        (name, side): _slope(name, side, residuals[side], new, eta, steps)
        for side in "fb"
        for name in ("shrink", "pull")
    }
    xi, xi1, chi2, root = array("xi", b), array("xi1"), array("chi2"), array("root")
    step, half, ahead = sqrt(2 * eta), array("half", b), array("ahead")
    grow, gain, slip = array("grow"), array("gain"), array("slip")
    outward = array("by_f") * step / 2
    body = (
        Assign("grow", (), 1 + eta * shrink_f),
        Assign("gain", (), 1 + eta * shrink_b),
        Assign("slip", (), shrink_b + shrink_f + eta * shrink_f * shrink_b),
        Assign("root", (), sqrt(array("rho"))),
        Assign("x_new", (b,), eta * array("pull_f", b) + grow * array("x", b) + step * xi),
        Assign("ahead", (), grow * root + step * xi1),
        # Half the residual of the backward kernel, x − x' − η g(x'): minus half of η D + √(2η) g' ξ.
        Assign(
            "half",
            (b,),
            -eta * (gain * array("pull_f", b) + array("pull_b", b) + slip * array("x", b)) / 2 - step * gain * xi / 2,
        ),
        Assign("beside", (), -(eta * slip * root + step * gain * xi1) * ahead / 2 - eta * gain * chi2),
        Assign("of_shrink_f", (), outward * (Sigma(array("x", b) * xi, (b, 1, R)) + root * xi1)),
        Assign("of_pull_f", (b,), outward * xi),
        Assign("of_shrink_b", (), array("by_b") * (Sigma(half * array("x_new", b), (b, 1, R)) + array("beside"))),
        Assign("of_pull_b", (b,), array("by_b") * half),
    )
    values = {a.name: a.value for a in body}
    for (name, side), slope in slopes.items():
        found = values[f"of_{name}_{side}"]
        for assign in reversed(body[:8]):
            found = found.subs(assign.variable, assign.value)
        left = found - array(f"by_{side}") * slope
        assert linearity(expand(left.subs(root, sqrt(array("rho"))))) == 0, (name, side)
    numbers: dict[str, tuple[Symbol, ...]] = {"xi": (b,), "xi1": (), "chi2": (), "eta": (), "by_f": (), "by_b": ()}
    return Program(
        "fixed",
        "by_f log F(x'|x) + by_b log B(x|x') at x and x' as they are: derivatives in both drifts",
        {},
        {"x": (b,), "rho": (), "shrink_f": (), "pull_f": (b,), "shrink_b": (), "pull_b": (b,)} | numbers,
        body,
        tuple(f"of_{name}_{side}" for side in "fb" for name in ("shrink", "pull")),
    )


def _slope(name: str, side: str, residue: Expr, new: Expr, eta: Symbol, steps: list[Step]) -> Expr:
    """∂/∂(a or H_b) of −|residue|²/4η at a fixed path, then in terms of the noise that leads to x'."""
    y = array(f"{name}_{side}", *((b,) if name == "pull" else ()))
    log_density, kernel = -Dot(residue, residue) / (4 * eta), {"f": r"\log F", "b": r"\log B"}[side]
    of = {"shrink": r"\partial_{a}", "pull": r"\partial_{c_b}"}[name]
    of = (of.replace("a}", "a'}").replace("c_b", "c'_b") if side == "b" else of) + kernel
    fixed = linearity(differentiate(-dot(residue, residue) / (4 * eta), y))
    steps.append(PathStep(of, FIXED, Gradient(log_density, y), fixed))
    moved = {array("x_new", b): coordinate(new, b), array("rho_new"): orthogonal(new, new)}
    moved[array("meet")] = orthogonal(new, POINT)
    found = linearity(expand(fixed.subs(moved).subs(array("root") ** 2, array("rho"))))
    steps.append(PathStep(of, KERNELS, fixed, found))
    return found
