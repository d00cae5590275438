"""docs/benchmarks.md: its tables are those of the stored numbers."""

from __future__ import annotations

from tests.benchmarks import tables
from tests.benchmarks.__main__ import DOCUMENTED, RESULTS


def test_the_document_has_the_numbers_of_the_result_file() -> None:
    text, paths = tables.DOCUMENT.read_text(encoding="utf-8"), [RESULTS / f"{name}.json" for name in DOCUMENTED]
    for path in paths:
        assert tables.written(text, path) == text
    # A changed digit would be seen.
    assert tables.written(text.replace("modecollapse | ", "modecollapse | 1", 1), paths[0]) == text
    assert tables.written(text.replace("control back | ", "control back | 1", 1), paths[1]) == text
