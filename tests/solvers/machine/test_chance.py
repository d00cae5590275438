"""The list of random streams."""

from __future__ import annotations

import re
from enum import IntEnum, unique
from pathlib import Path

import pytest

import solvers
from solvers.machine.chance import Domain, Purpose, Stream, generator


def test_streams_differ_in_every_word() -> None:
    drawn = {
        (seed, start, stream): tuple(generator(seed, start, stream).integers(2**63, size=2))
        for seed in (0, 1) for start in (0, 1) for stream in Stream
    }  # fmt: skip
    assert len(set(drawn.values())) == len(drawn)


@pytest.mark.parametrize("kind", [Stream, Domain, Purpose])
def test_a_collision_does_not_import(kind: type[IntEnum]) -> None:
    members = {entry.name: int(entry) for entry in kind}
    members["NEW"] = next(iter(members.values()))
    with pytest.raises(ValueError, match="duplicate values found"):
        unique(IntEnum("Colliding", members))


def test_no_stream_is_made_of_a_number_typed_elsewhere() -> None:
    """Keys of generators are words of the list, wherever one is made."""
    typed = re.compile(r"(?:SeedSequence|Philox|spawn_key|counter)[^\n]*\b(?:0x[0-9A-Fa-f]{3,})")
    folder = Path(str(solvers.__file__)).parent
    found = {path.name for path in folder.rglob("*.py") if typed.search(path.read_text(encoding="utf-8"))}
    assert not found
