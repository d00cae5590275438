"""What is compiled beside trajectories is what array code makes of the same states."""

import numpy as np
import pytest

from solvers.closed import ensembles, flow
from solvers.problem import Problem

TEXT = """
dimension = 6
[target]
separation = 1.5
weights = [0.3, 0.7]
[family]
components = 2
variances = 0.8
learn = ["means", "weights"]
[flow]
FLOW
[init]
scale = 0.5
samples = 70
[time]
end = 3.0
save = 4
"""
FLOWS = ["", "temperature = 2.5", "temperature = {start = 4.0, rate = 0.5}", "temperature = {start = 4.0, rate = 1e30}"]


@pytest.mark.slow
@pytest.mark.parametrize("text", FLOWS)
def test_fields_are_those_of_arrays(text, monkeypatch):
    given = Problem.parse(TEXT.replace("FLOW", text))
    compiled = flow.solve(given)
    assert compiled.attrs["backend"] == "numba"
    monkeypatch.setattr(ensembles, "quick", lambda closed: False)
    by_arrays = flow.solve(given)
    for name in by_arrays.variables:
        one, other = compiled[name].values, by_arrays[name].values
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13, err_msg=str(name))
        assert one.dtype == other.dtype


def test_blocks_of_states_do_not_matter(monkeypatch):
    """Neither do the threads that take them; negative control: other starts have other fields."""
    given = Problem.parse(TEXT.replace("FLOW", ""))
    whole = flow.solve(given, threads=1)
    monkeypatch.setattr("solvers.closed.fields.TOGETHER", 12)
    monkeypatch.setattr("solvers.results.checks.TOGETHER", 9)
    parts = flow.solve(given, threads=2)
    assert whole.identical(parts)
    assert not whole.identical(flow.solve(given, samples=range(70), rtol=1e-7))
