"""What the comparison itself is worth: error rates, power, mutations, outcomes. `python -m tests.verification`."""
