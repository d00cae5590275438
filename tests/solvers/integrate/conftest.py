"""One compiled toy system for all tests of the integrators."""

import pytest

from solvers.closed import compiled
from tests.solvers.integrate.toy_system import TEXT


@pytest.fixture(scope="session")
def toy():
    return compiled.build(TEXT, components=2, modes=2, directions=1)
