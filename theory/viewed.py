"""What is derived and then emitted: its views by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["Viewed"]


class Viewed:
    """Something with views, functions that make a text of it."""

    @property
    def views(self) -> tuple[str, ...]:
        """Names that `emit` accepts."""
        return tuple(self._views)

    def emit(self, view: str, *names: str) -> str:
        """One of the views, as text. Source for "numpy", "numba" or "cuda" is headed by name and title, if given.

        Raises ValueError for a view that does not exist.
        """
        if view not in self._views:
            raise ValueError(f"view {view!r}: allowed are {', '.join(self._views)}")
        return self._views[view](self, *names)

    @property
    def _views(self) -> Mapping[str, Callable[..., str]]:
        raise NotImplementedError
