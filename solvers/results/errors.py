"""What may be wrong with a stored result, as exceptions and warnings."""

from __future__ import annotations

__all__ = ["ResultError", "ResultWarning"]


class ResultError(ValueError):
    """A file that is not a result of this project; str() is a one-line message that names it."""


class ResultWarning(UserWarning):
    """A result that this version of the code would not reproduce; str() names the difference."""
