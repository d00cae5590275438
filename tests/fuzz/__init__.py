"""Damaged and mistaken input, by the thousand: every example of figures/ mutated, read, and solved where it can be."""
