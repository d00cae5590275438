"""The forward KL: second moments of responsibilities, by every rule, and the compiled system behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from solvers import expectations
from solvers.closed import batches, ensembles, flow, systems
from solvers.closed.equations import Closed, Task
from solvers.closed.span import Span
from solvers.expectations.lanes.nodes import LARGEST
from solvers.problem import Problem
from solvers.problem.starts import starts
from tests.solvers.closed.flow_cases import problem

Array = npt.NDArray[np.float64]
FORWARD = {"objective": "forward-kl"}


def by_hermite(mean: Array, factor: Array, nodes: int = 80) -> Array:
    """E softmax_i softmax_j of mean + factor z, z normal in one or two directions: tensor Gauss–Hermite."""
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    r = factor.shape[1]
    grid = np.stack(np.meshgrid(*[z] * r, indexing="ij"), axis=-1).reshape(-1, r)
    share = np.prod(np.stack(np.meshgrid(*[weight] * r, indexing="ij"), axis=-1).reshape(-1, r), axis=1)
    u = mean + grid @ factor.T
    p = np.exp(u - u.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return np.asarray((p.T * share) @ p / share.sum())


@pytest.mark.parametrize(
    "softmax", [expectations.gaussian_softmax, batches.gaussian_softmax], ids=["numpy", "compiled"]
)
@pytest.mark.parametrize(("n", "rank"), [(2, 1), (3, 1), (3, 2), (7, 2)])
def test_second_moments_are_those_of_another_quadrature(softmax: Any, n: int, rank: int) -> None:
    """Fields narrow enough for 80 Gauss–Hermite nodes a direction to err by less than 1e-9."""
    rng = np.random.default_rng(n)
    mean, factor = rng.normal(size=(2, n)), 0.4 * rng.normal(size=(n, rank))
    first, _, second, error = softmax(mean, factor @ factor.T, moments=True, error=True)
    expected = np.stack([by_hermite(m, factor) for m in mean])
    assert np.abs(second - expected).max() < 1e-9
    assert error.max() < 1e-9
    assert second.sum(axis=-1) == pytest.approx(first, abs=1e-13)
    # controls: products of means are no means of products, nor is twice as much
    assert np.abs(first[:, :, None] * first[:, None, :] - expected).max() > 1e-3
    assert np.abs(2 * second - expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("n", "rank", "width"), [(4, 3, 1.5), (6, 5, 1.0), (3, 2, 30.0)])
def test_compiled_second_moments_are_those_of_numpy(n: int, rank: int, width: float) -> None:
    rng = np.random.default_rng(n)
    mean, factor = rng.normal(size=(2, 4, n)) * width, width * rng.normal(size=(2, 1, n, rank))
    law = mean, factor @ factor.mT
    asked: dict[str, Any] = {"moments": True, "error": True, "tolerance": 1e-7}
    ours, theirs = (of(*law, **asked) for of in (batches.gaussian_softmax, expectations.gaussian_softmax))
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        assert np.abs(a - b).max() < 1e-12 * max(1.0, np.abs(b).max())
    assert ours[3] == pytest.approx(theirs[3], rel=1e-6, abs=1e-12)
    mean[0, 1, 0] = np.nan
    lost = np.isnan(batches.gaussian_softmax(*law, moments=True)[2])
    assert lost[0, 1].all()
    assert lost.sum() == n * n


def states(given: Problem) -> tuple[Closed, Span, Array, Array]:
    closed = Closed.of(given)
    s, m, theta = starts(given)
    space = Span.of(given, s, m)
    y = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta], axis=1)
    y[:, -theta.shape[1] :] += np.random.default_rng(3).normal(size=theta.shape) / 2
    return closed, space, y, ensembles.parameters(closed, space)


@pytest.mark.slow
def test_compiled_velocity_and_jacobian_of_three_components() -> None:
    """In the plane, to rounding; the Jacobian has third and fourth moments of the same probabilities."""
    means = [[1.5, 0.3, 0.0, 0.0], [-1.0, 0.8, 0.0, 0.0], [0.1, -1.2, 0.0, 0.0]]
    given = problem(4, {"means": means}, {"components": 3}, {"scale": 0.5, "samples": 3}, {"end": 1.0}, FORWARD)
    closed, space, y, p = states(given)
    system, module = ensembles.build(closed, space), systems.for_problem(given)
    velocity, slope = system.derivatives(y, p)
    x, dx = (a[:, :-3].reshape(len(y), 3, -1) for a in (y, velocity))
    at = (*space.overlaps(x), y[:, -3:])
    ds, dm, dtheta = flow.velocity(given, module, *at)
    assert velocity[:, -3:] == pytest.approx(dtheta, abs=1e-12)
    assert dx @ space.target().T == pytest.approx(dm, abs=1e-12)
    assert dx @ x.mT + x @ dx.mT == pytest.approx(ds, abs=1e-12)
    # control: second moments that are twice as large are noticed
    twice = [term for term in systems.terms(systems.read(module.NAME)) if "PP" in term]
    wrong = systems.load(systems.read(module.NAME), scale=dict.fromkeys(twice, 2.0))
    assert len(twice) == 2
    assert np.abs(flow.velocity(given, wrong, *at)[1] - dx @ space.target().T).max() > 1e-2
    h = 1e-4  # central differences of fourth order: h⁴ of truncation, 1e-14/h of rounding
    for j, direction in enumerate(np.eye(y.shape[1])):
        sides = [system.derivatives(y + step * h * direction, p)[0] for step in (-2, -1, 1, 2)]
        difference = (sides[0] - 8 * sides[1] + 8 * sides[2] - sides[3]) / (12 * h)
        assert np.abs(slope[:, :, j] - difference).max() < 1e-8
    values = closed.evaluate(*at)
    observed = system.observables(y, p)
    assert observed[:, 0] == pytest.approx(systems.call(module.objective, values), abs=1e-12)
    assert observed[:, 1:4] == pytest.approx(systems.call(module.mode_mass, values), abs=1e-12)


def test_the_forward_kl_is_compiled_by_default_up_to_the_largest() -> None:
    def refused(components: int) -> str | None:
        family = {"components": components}
        given = problem(8, {"separation": 3.0}, family, {"scale": 1.0}, {"end": 1.0, "save": 2}, FORWARD)
        return ensembles.refused_on_cpu(Task(Closed.of(given)))

    assert refused(LARGEST) is None
    assert f"at most {LARGEST}" in str(refused(LARGEST + 1))
