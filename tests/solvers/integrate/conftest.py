"""One compiled toy system for all tests of the integrators; machine code in a folder of the session."""

import pytest

from solvers.closed import compiled
from tests.solvers.integrate.toy_system import TEXT


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODECOLLAPSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield compiled.build(TEXT, components=2, modes=2, directions=1)
