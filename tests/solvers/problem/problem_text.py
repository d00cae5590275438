"""A valid problem file, and edits of it, for the tests."""

import re

BASE = """
dimension = 64
[target]
separation = 3.0
[family]
components = 2
[init]
scale = 0.125
[time]
end = 10.0
"""


def edited(*edits):
    """The base problem with some of its lines replaced; ("[family]", "x") adds a line below a section's head."""
    text = BASE
    for old, new in edits:
        assert old in text
        text = text.replace(old, f"{old}\n{new}" if re.fullmatch(r"\[\w+\]", old) and new[0] != "[" else new)
    return text
