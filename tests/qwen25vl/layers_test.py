"""Normalisation against its written-out form."""

import jax.numpy as jnp

from vigorl_jax.qwen25vl import layers


def test_norm_divides_by_the_root_mean_square_in_float32():
    norm = layers.RMSNorm(4, 0.0, dtype=jnp.bfloat16)
    norm.scale[...] = jnp.array([1, 2, 3, 4], jnp.bfloat16)
    x = jnp.array([[300.0, 400.0, 0.0, 0.0]], jnp.bfloat16)
    expected = jnp.array([1, 2, 3, 4], jnp.bfloat16) * jnp.array([1.2, 1.6, 0, 0]).astype(jnp.bfloat16)
    assert norm(x).dtype == jnp.bfloat16
    assert norm(x).tolist() == [expected.tolist()]
