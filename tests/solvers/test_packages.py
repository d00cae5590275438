"""What a package exports is what it says, also once all its modules are imported: none takes a name of it."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import solvers

PACKAGES = [info.name for info in pkgutil.walk_packages(solvers.__path__, "solvers.") if info.ispkg]


def taken(package: ModuleType) -> list[str]:
    return [name for name in getattr(package, "__all__", ()) if isinstance(getattr(package, name), ModuleType)]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_module_takes_the_name_of_what_its_package_exports(name: str) -> None:
    package = importlib.import_module(name)
    exported = set(getattr(package, "__all__", ()))
    for info in pkgutil.iter_modules(package.__path__):
        if info.name in exported:
            importlib.import_module(f"{name}.{info.name}")
    assert not taken(package)


def test_one_that_did_would_be_seen() -> None:
    package = ModuleType("package")
    package.__all__, package.attributes = ["attributes"], ModuleType("package.attributes")  # type: ignore[attr-defined]
    assert taken(package) == ["attributes"]
