"""Tables in documents that are written from stored numbers, each between two comments that name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def filled(text: str, contents: Mapping[str, str], document: str) -> str:
    """`text` with what stands between <!-- NAME --> and <!-- end of NAME --> replaced by contents[NAME].

    Raises  ValueError naming the document if it lacks such a comment.
    """
    for name, content in contents.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{document} lacks {begin} or {end}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"
    return text
