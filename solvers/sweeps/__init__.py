"""Sweeps: a problem at every point of a grid, in pieces that survive interruption. See docs/sweeps.md."""
