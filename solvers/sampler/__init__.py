"""The diffusion sampler in reduced coordinates: paths of (x_∥, ϱ), whose cost does not depend on the dimension."""

from solvers.sampler.chain import Noise, Paths, backward, forward, gradient
from solvers.sampler.evaluate import evaluate
from solvers.sampler.model import Mixture, Sampler

__all__ = ["Mixture", "Noise", "Paths", "Sampler", "backward", "evaluate", "forward", "gradient"]
