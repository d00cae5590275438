"""Every use of random numbers, in one list: none shares its stream with another.

A stream is known by what it is for, not by what was drawn before it. Enumerations refuse two entries of one value, so a
new use that collides with an old one does not import.
"""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np

__all__ = ["Domain", "Purpose", "Stream", "generator"]


@unique
class Stream(IntEnum):
    """Of starts and of the theory: Philox with the key (seed, start), and this as the last word of the counter; the
    word before it says which of several runs."""

    STARTS = 0x737461727473
    GRADIENT = 0x6772616469656E74  # paths of a sampler's reduced chain behind the gradient
    EVALUATION = 0x6576616C75617465  # and behind its evaluation
    REFINEMENT = 0x726566696E656D65  # candidates for a new component
    CLONES = 0x636C6F6E6573  # clones of paths in the reduced chain
    TARGET = 0x746172676574  # modes of a random target
    SAMPLES = 0x73616D706C6573  # paths of a sampler whose ends are written
    TRANSPORT = 0x7472616E73706F  # samples of the target that those are compared with


@unique
class Domain(IntEnum):
    """First word of spawn keys of the seed."""

    SIMULATION = 0x51D  # everything in R^d; a Purpose follows
    THEORY = 0x7E01  # seeds of the repetitions of a theory that has noise of its own


@unique
class Purpose(IntEnum):
    """Of simulations in R^d: the word behind Domain.SIMULATION."""

    TRAJECTORY = 0
    RIGHT_HAND_SIDE = 1
    GRADIENT = 2
    FORWARD = 3  # paths of a sampler from its prior
    BACKWARD = 4  # and from the target
    CHOICES = 5
    CANDIDATES = 6
    CLONES = 7
    SAMPLES = 8  # paths of a sampler whose ends are written


#: Behind Purpose.RIGHT_HAND_SIDE, in the place of the number of a start: a perturbation the size of a step's noise.
PERTURBATION = 0x5E25


def generator(seed: int, start: int, stream: Stream, run: int = 0) -> np.random.Generator:
    """The generator of one use, of one start, and of one of several runs from it."""
    return np.random.Generator(np.random.Philox(key=[seed, start], counter=[0, 0, run, int(stream)]))
