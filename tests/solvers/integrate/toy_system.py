"""Two states and eight parameters for an oscillator, the van der Pol equation, or a saddle and a fast follower."""

import numpy as np

#: a' = p₀a + p₁b + p₂a³,   b' = p₃a + p₄b + p₅a²b + p₆a² + p₇
TEXT = """
N, WORK, OUT, PARAMETERS = 2, 0, 2, 8
LOGITS = (K, L)

@njit(**FLAGS)
def fixed(p, work):
    pass

@njit(**FLAGS)
def rhs(y, p, dy, work):
    a, b = load(y, 0), load(y, 1)
    store(dy, 0, p[0] * a + p[1] * b + p[2] * a * a * a)
    store(dy, 1, p[3] * a + p[4] * b + p[5] * a * a * b + p[6] * a * a + p[7])

@njit(**FLAGS)
def jacobian(y, p, jac, work):
    a, b = load(y, 0), load(y, 1)
    store(jac, 0, p[0] + 3.0 * p[2] * a * a)
    store(jac, 1, p[1])
    store(jac, 2, p[3] + 2.0 * p[5] * a * b + 2.0 * p[6] * a)
    store(jac, 3, p[4] + p[5] * a * a)

@njit(**FLAGS)
def observables(y, p, out, work):
    store(out, 0, load(y, 0) * load(y, 0))
    store(out, 1, load(y, 1) - p[7])
"""


def oscillator(frequency=1.0):
    """a' = −ωb, b' = ωa."""
    return np.array([0, -frequency, 0, frequency, 0, 0, 0, 0.0])


def van_der_pol(mu):
    """a' = b, b' = μ(1 − a²)b − a: stiff for large μ."""
    return np.array([0, 1.0, 0, -1.0, mu, -mu, 0, 0])


def saddle(growth, rate):
    """a' = g(a − a³), unstable at 0 and stable at ±1; b' = −k(b − a² − 1) follows."""
    return np.array([growth, 0, -growth, 0, -rate, 0, rate, rate])


def grown(a, t):
    """The solution of a' = a − a³ from a."""
    return a * np.exp(t) / np.sqrt(1 + a**2 * np.expm1(2 * t))
