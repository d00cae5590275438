"""python -m tests.fuzz [COUNT [EVERY]]: read so many mutations (20000), solve those divisible by EVERY (1), count."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz.cases import run


def main() -> None:
    count, every = (int(a) for a in [*sys.argv[1:], *["20000", "1"][len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = run(range(count), Path(folder), every=every, stop=False)
    for what, times in counts.most_common():
        print(f"{times:6} {what}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
