"""Softmax, its logarithm's sum, and a guarded inverse, of arrays of NumPy or CuPy: what emitted array code calls."""

from __future__ import annotations

from typing import Any

from solvers.machine.arrays import array_module

__all__ = ["inverse", "logsumexp", "softmax"]


def logsumexp(logit: Any) -> Any:
    """log Σ_k exp(logit_k) over the last axis, stable at any logits."""
    xp = array_module(logit)
    top = xp.max(logit, axis=-1)
    return top + xp.log(xp.sum(xp.exp(logit - top[..., None]), axis=-1))


def softmax(logit: Any) -> Any:
    """exp(logit_k − logsumexp(logit)), whose sum is 1 at any logits."""
    xp = array_module(logit)
    raised = xp.exp(logit - xp.max(logit, axis=-1)[..., None])
    return raised / xp.sum(raised, axis=-1)[..., None]


def inverse(root: Any) -> Any:
    """1 / root, and 0 where there is no orthogonal direction (d = R)."""
    xp = array_module(root)
    return xp.where(root > 0, 1 / xp.where(root > 0, root, 1.0), 0.0)
