"""How figures look and what is written of each: PDF and PNG that carry their provenance, caption, numbers."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import xarray as xr

from figures.catalogue import FigureModule
from solvers.results.output import OutputError, check_folder, check_output, in_the_way, shown, write_bytes

STYLE = Path(__file__).with_name("style.mplstyle")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_style(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function under our style and nothing of the user's; matplotlib's settings are as before when it returns."""

    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with matplotlib.rc_context(fname=STYLE):
            return draw(*args, **kwargs)

    return styled


FORMS = ("pdf", "png", "txt", "json")


def make_folder(name: str | Path) -> Path:
    """A folder for outputs, made unless it is there already.

    Raises  OutputError if it cannot be made.
    """
    try:
        check_folder(name)
        path = Path(name)
        path.mkdir(parents=True, exist_ok=True)
        return path
    except OutputError as error:
        raise OutputError(f"--out: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"--out: {shown(path)}: {reason}; must be a folder, or the name of a new one") from error


def check(names: Iterable[str], folder: Path) -> list[Path]:
    """Files of figures that `write` will replace.

    Raises  OutputError if one could not be written, before anything is computed.
    """
    paths = [folder / f"{name}.{form}" for name in names for form in FORMS]
    for path in paths:
        check_output(path)
    return [path for path in paths if in_the_way(path)]


def provenance(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Where a figure comes from: the attributes of each result (problem, system, seed, options, versions), and ours."""
    versions = {name: metadata.version(name) for name in ("modecollapse", "matplotlib")}
    return {
        "results": {role: {key: _plain(value) for key, value in ds.attrs.items()} for role, ds in results.items()},
        "versions": versions,
    }


@in_style
def write(module: FigureModule, results: Mapping[str, xr.Dataset], folder: Path) -> list[Path]:
    """Draw a figure and write NAME.pdf, NAME.png, NAME.txt (its caption) and NAME.json (its numbers) into a folder.

    The same results give the same bytes. The JSON holds `numbers`, read off what is drawn, and `provenance`; PDF
    (Keywords) and PNG (Provenance) hold the provenance too.

    Returns
        The four paths.
    Raises
        OutputError if a file cannot be written; what the figure raises.
    """
    name = module.__name__.rpartition(".")[2]
    figure, caption, origin = module.main(results), module.caption(results), provenance(results)
    record, maker = json.dumps(origin), f"modecollapse {origin['versions']['modecollapse']}"
    known = {
        "pdf": {"Title": name, "Subject": caption, "Keywords": record, "Creator": maker, "CreationDate": None},
        "png": {"Title": name, "Description": caption, "Provenance": record, "Software": maker},
    }
    contents = {
        "txt": caption + "\n",
        "json": json.dumps({"numbers": module.numbers(results), "provenance": origin}, indent=1) + "\n",
    }
    paths = []
    for form, about in known.items():
        picture = io.BytesIO()
        figure.savefig(picture, format=form, metadata=about)
        paths.append(folder / f"{name}.{form}")
        write_bytes(picture.getvalue(), paths[-1])
    for form, text in contents.items():
        paths.append(folder / f"{name}.{form}")
        write_bytes(text.encode(), paths[-1])
    return paths


def _plain(value: Any) -> Any:
    """A value of a NetCDF attribute as JSON has it."""
    value = getattr(value, "tolist", lambda: value)()
    return None if isinstance(value, float) and math.isnan(value) else value
