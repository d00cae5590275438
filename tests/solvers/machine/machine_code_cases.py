"""A tiny compiled function with its machine code in the cache, loaded as the next process would load it."""

from __future__ import annotations

import warnings

import numpy as np

from solvers.machine.code import CacheWarning, notes, package, store

TEXT = """
from solvers.machine.code.entries import entry

def weighted(x):
    total = 0.0
    for i in range(len(x)):
        total += (i + 1) * x[i]
    return total

def ready():
    weighted.__module__ = __name__
    return entry(error_model="numpy", nogil=True)(weighted)
"""
X = np.array([0.5, -1.25, 3.0])
RIGHT = 0.5 - 2 * 1.25 + 3 * 3.0


def begin(monkeypatch, folder=None):
    """As in a new process: nothing said and no folder checked yet. folder: what MODECOLLAPSE_CACHE names."""
    monkeypatch.setattr(store, "_stores", {})
    monkeypatch.setattr(notes, "_said", set())
    if folder is not None:
        monkeypatch.setenv("MODECOLLAPSE_CACHE", str(folder))


def use(text=TEXT):
    """The value of the function, whether its machine code was loaded, and the warnings said."""
    function = package((("tiny", text),))["tiny"].ready()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = function(X)
    assert all(issubclass(warning.category, CacheWarning) for warning in caught)
    messages = [str(warning.message) for warning in caught]
    assert all(len(message) <= 300 and message.isprintable() for message in messages)
    return value, bool(sum(function.stats.cache_hits.values())), messages


def codes(folder):
    return sorted(folder.glob("*.code"))
