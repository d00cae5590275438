"""Machine code of the tests: where the home of this machine cannot keep any, as in some containers, it is elsewhere."""

import os
import tempfile
from pathlib import Path

from solvers.machine.code.folder import Unusable, cache_folder, key_of, prepared


def keeps(folder):
    """Whether machine code can be kept in a folder."""
    try:
        key_of(place := prepared(folder()))
        tempfile.TemporaryFile(dir=place).close()
    except (Unusable, OSError):
        return False
    return True


def for_tests():
    return Path(tempfile.gettempdir()) / f"modecollapse-tests-{os.geteuid()}"


# A warning of the first test that compiles would fail it, whatever it tests.
if os.environ.get("MODECOLLAPSE_CACHE_SIZE") != "0" and not keeps(cache_folder):
    os.environ |= {"MODECOLLAPSE_CACHE": str(for_tests())} if keeps(for_tests) else {"MODECOLLAPSE_CACHE_SIZE": "0"}
