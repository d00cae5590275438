"""What is written of a figure: formats, provenance in their metadata, the same bytes again, nothing half-written."""

import ast
import json
from importlib import metadata

import matplotlib
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from figures import overlap_trajectories
from figures.catalogue import catalogue
from figures.files import make_folder, write
from solvers.problem import Problem
from solvers.results.output import OutputError
from tests.figures.figure_results import TINY, made_up


@pytest.fixture(scope="module")
def results():
    return made_up(Problem.parse(TINY))


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    before = dict(matplotlib.rcParams)
    paths = write(overlap_trajectories, results, folder)
    assert dict(matplotlib.rcParams) == before
    return {path.suffix: path for path in paths}


@pytest.mark.slow
def test_four_files(written):
    assert sorted(path.name for path in written[".pdf"].parent.iterdir()) == [
        f"overlap_trajectories.{form}" for form in ("json", "pdf", "png", "txt")
    ]
    assert written[".pdf"].read_bytes().startswith(b"%PDF")
    with Image.open(written[".png"]) as picture:
        assert picture.size[0] == 2100  # 7 inches at 300 dots


@pytest.mark.slow
def test_every_file_says_where_it_comes_from(written, results):
    about = json.loads(written[".json"].read_text())
    assert about["numbers"] == overlap_trajectories.numbers(results)
    theory, simulation = about["provenance"]["results"]["theory"], about["provenance"]["results"]["simulation"]
    assert (theory["problem"], theory["system"], theory["seed"]) == (TINY, "a1b2", 3)
    assert (simulation["particles"], simulation["step"], simulation["rtol"]) == (64, 0.05, None)
    assert json.loads(theory["versions"])["numpy"] == np.__version__
    assert about["provenance"]["versions"]["matplotlib"] == matplotlib.__version__
    with Image.open(written[".png"]) as picture:
        assert isinstance(picture, PngImageFile)
        assert json.loads(picture.text["Provenance"]) == about["provenance"]
        assert picture.text["Description"] + "\n" == written[".txt"].read_text()
        assert picture.text["Software"] == f"modecollapse {metadata.version('modecollapse')}"
    # The same JSON in the PDF, in its notation for strings, broken over lines nowhere.
    keywords = written[".pdf"].read_bytes().split(b"/Keywords (")[1].split(b")\n")[0].decode("ascii")
    assert json.loads(ast.literal_eval(f"'''{keywords}'''")) == about["provenance"]


@pytest.mark.slow
def test_same_results_same_bytes(written, results, tmp_path):
    for path in write(overlap_trajectories, results, tmp_path):
        assert path.read_bytes() == written[path.suffix].read_bytes(), path


@pytest.mark.slow
def test_text_of_the_pdf_is_text(written):
    assert b"/Type3" not in written[".pdf"].read_bytes()
    assert b"/FontFile2" in written[".pdf"].read_bytes()


def test_no_folder_can_be_made_of_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(OutputError, match="must be a folder, or the name of a new one"):
            make_folder(path)


def test_a_figure_is_a_module_with_results_and_main():
    figures = catalogue()
    assert "overlap_trajectories" in figures
    assert "demo" not in figures
    for module in figures.values():
        assert module.__doc__
        assert all(callable(getattr(module, name)) for name in ("main", "caption", "numbers"))
