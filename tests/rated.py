"""Arguments of generated systems at given numbers: states and parameters, the rates of a metric, and the tables."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from solvers.closed import mobility, systems
from solvers.expectations import gaussian_softmax

__all__ = ["rated"]


def rated(module: ModuleType, values: dict[str, Any], metric: str = "euclidean", weights: str = "softmax") -> Any:
    """`values` with the rates of a metric and, if there is no table among them, the tables; β = 1 unless given."""
    way, w = SimpleNamespace(metric=metric, weights=weights), np.exp(module.log_weights(values["theta"]))
    known = {"beta": 1.0, "expect": gaussian_softmax} | values
    known |= mobility.rates(way, module.POWERS, w, values["v"], values.get("d"))
    if module.TABLES[0] not in known:
        known |= dict(zip(module.TABLES, systems.call(module.tables, known), strict=True))
    return known
