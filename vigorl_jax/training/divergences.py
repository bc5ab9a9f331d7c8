"""Estimates of KL(policy || reference) from sampled tokens (J. Schulman, "Approximating KL Divergence", 2020).

With d = log policy - log reference: k1 and k3 are unbiased, k2 and k3 are never negative.
"""

from collections.abc import Callable

import jax.numpy as jnp

from vigorl_jax.training.batch import Values

# A token's k3 is at most this: the clamp of the official code (`low_var_kl`), which bounds its gradient too.
MAX_K3 = 10.0
# exp beyond this has long met the clamp; without a bound its infinity times a gradient of 0 would be NaN.
MAX_EXPONENT = 20.0

Divergence = Callable[[Values, Values], Values]


def k1(log_probs: Values, reference: Values) -> Values:
    """d."""
    return log_probs - reference


def k2(log_probs: Values, reference: Values) -> Values:
    """d^2 / 2."""
    return 0.5 * jnp.square(log_probs - reference)


def k3(log_probs: Values, reference: Values) -> Values:
    """exp(-d) - 1 + d, at most 10: d = -1 gives .718, d = 1 gives .368, d = -3 gives 10 instead of 16.1."""
    k = jnp.clip(reference - log_probs, -MAX_EXPONENT, MAX_EXPONENT)
    return jnp.clip(jnp.exp(k) - k - 1.0, -MAX_K3, MAX_K3)
