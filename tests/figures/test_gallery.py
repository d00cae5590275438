"""docs/gallery.md: every figure of the catalogue, with a small picture that is there and its command."""

import re
from pathlib import Path

from figures.catalogue import catalogue

DOCS = Path(__file__).parents[2] / "docs"


def test_every_figure_has_its_place() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    parts = {part.split("\n")[0].strip(): part for part in text.split("\n## ")[1:]}
    assert list(parts) == list(catalogue())
    for name, part in parts.items():
        assert f"](gallery/{name}.png)" in part, name
        assert re.search(rf"    python -m figures {name}( --quick)?\n", part), name


def test_pictures_are_small_and_none_is_left_over() -> None:
    sizes = {path.stem: path.stat().st_size for path in (DOCS / "gallery").iterdir()}
    assert set(sizes) == set(catalogue())
    assert max(sizes.values()) < 150_000
    assert sum(sizes.values()) < 1_000_000
