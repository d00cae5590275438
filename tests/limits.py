"""Limits that hold on any machine: one on time, which says nothing about speed, and one on rounding."""

from __future__ import annotations

#: Seconds after which a test waits for nothing that will ever come: two compilations took 37 on a busy machine.
HANG = 1800.0

#: Relative: what other libm, BLAS, vector instructions and fused multiply-adds make of a few operations, 16 units in
#: the last place. Equality of what two codes or two processors computed is asked no closer than this.
ROUNDING = 16 * 2.0**-52
