"""Random numbers of the simulations: Philox4x32-10, a function of counter and key, and normals by Box–Muller.

A number is known by what it is for, not by what was drawn before it: the key names the seed, the simulation and the
replica, the counter the pair of coordinates, the particle, the step and the component. Blocks, threads and backends
cannot change it. This is the plain form, for numpy and cupy arrays; compiled.py and kernel.cu hold the fast ones.

    words (x₀, x₁, x₂, x₃) = philox((pair, particle, step, source), key)
    u = 1 − ⌊(2³² x₀ + x₁)/2¹²⌋ 2⁻⁵² ∈ [2⁻⁵², 1],  r = √(−2 log u)
    α = (π/2) (⌊(2³² x₂ + x₃)/2¹²⌋ 2⁻⁵² − ½) ∈ [−π/4, π/4): the direction within a quarter turn
    (a, b) = (cos α, sin α), a with its sign turned by bit 1 of x₃, the two exchanged by bit 0: which quarter
    coordinates 16 i + z and 16 i + 8 + z of the particle are r a and r b, with pair = 8 i + z and z < 8

Words are equal to the bit everywhere. Normals differ between backends by the rounding of log, cos and sin, a few units
in the last place. Tails end at √(104 log 2) = 8.49, beyond which a normal number falls with probability 2e-17.

Source  Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3"; Box and Muller (1958).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.chance import Domain

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
INCREMENTS = 0x9E3779B9, 0xBB67AE85
LARGEST_COUNT = 2**32
"""Pairs, particles, steps and sources must be fewer: each is one word of the counter."""

TILE = 16
"""Coordinates that are drawn together: cosines in the first half, sines in the second."""


def stream_keys(seed: int, key: tuple[int, ...], replicas: range) -> NDArray[np.uint64]:
    """Key words (replica, 2) of the streams of some replicas.

    Takes
        key: a Purpose, and what distinguishes this simulation from others of it and the seed (start, step size, ...).
    Returns
        64 well mixed bits of (seed, key, replica) each, as two 32-bit words.
    """
    sequences = [np.random.SeedSequence(seed, spawn_key=(Domain.SIMULATION, *key, replica)) for replica in replicas]
    return np.array([sequence.generate_state(2) for sequence in sequences], dtype=np.uint64)


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Four random 32-bit words; words are uint64 arrays that broadcast together."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(ROUNDS):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & low, (first >> half) ^ c3 ^ k1, first & low
        k0, k1 = (k0 + np.uint64(INCREMENTS[0])) & low, (k1 + np.uint64(INCREMENTS[1])) & low
    return c0, c1, c2, c3


def normals(xp: Any, keys: NDArray[np.uint64], step: int, source: int, particles: range, d: int) -> Any:
    """Standard normal numbers (replica, particle, d), float64.

    Takes
        xp: numpy or cupy; keys: of the replicas, see stream_keys; step, source, particles: what the numbers are for.
    """
    tiles = -(-d // TILE)
    pair = xp.arange(8 * tiles, dtype=np.uint64)
    particle = xp.arange(particles.start, particles.stop, dtype=np.uint64)[:, None]
    one = xp.ones((1, 1), dtype=np.uint64)
    k0, k1 = (xp.asarray(word)[:, None, None] for word in keys.T)
    x0, x1, x2, x3 = philox((pair, particle, one * np.uint64(step), one * np.uint64(source)), (k0, k1))
    half, drop = np.uint64(32), np.uint64(12)
    u = 1.0 - ((x0 << half | x1) >> drop) * 2.0**-52
    angle = (((x2 << half | x3) >> drop) * 2.0**-52 - 0.5) * (np.pi / 2)
    r = xp.sqrt(-2.0 * xp.log(u))
    a, b = xp.cos(angle), xp.sin(angle)
    a = xp.where(x3 & np.uint64(2), -a, a)
    exchange = x3 & np.uint64(1) != 0
    out = xp.stack([r * xp.where(exchange, b, a), r * xp.where(exchange, a, b)], axis=-1)
    # (replica, particle, tile, z, half) -> (replica, particle, tile, half, z): coordinates in order
    out = out.reshape(*out.shape[:2], tiles, 8, 2).swapaxes(-1, -2)
    return out.reshape(*out.shape[:2], tiles * TILE)[..., :d]
