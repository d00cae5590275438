"""Where rank ends: below which part of the largest a number of a matrix is zero. One for each question.

They differ since the numbers are known to different accuracy, and since some are lengths and some squares of lengths.
"""

__all__ = ["AVERAGES", "DERIVATIVES", "GRAM", "OVERLAPS", "VECTORS"]

AVERAGES = 1e-14
"""Variance of a direction of logits, in units of max(1, largest), that an average does not see: left out it changes a
softmax by less than half of that, a tenth of what its rules promise."""
OVERLAPS = 1e-13
"""Eigenvalue of computed overlaps, in units of the largest squared length: rounding of s − m c⁺ mᵀ is a few times
1e-15, and a direction too many would be integrated for nothing."""
VECTORS = 1e-12
"""Singular value of vectors that are at hand, in units of the largest or of their lengths: lengths, not squares."""
DERIVATIVES = 1e-10
"""Singular value of a Jacobian at an equilibrium, in units of the largest: Newton's method leaves it off by 1e-12 of a
state, times a curvature. Below, nothing is decided along a direction."""
GRAM = 1e-9
"""Eigenvalue of a Gram matrix of unit diagonal that somebody typed, to ten digits or so."""
