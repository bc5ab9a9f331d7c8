"""Layers that the vision tower and the language model share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from vigorl_jax.array_typing import Array, Float, typed

# Called with the name and the value of each stage of a forward pass, while it is traced. Names are those of the
# PyTorch model's modules, so that the two can be compared stage by stage.
Observer = Callable[[str, Array], None]


def unobserved(name: str, value: Array) -> None:
    """The observer that ignores everything."""


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale, the quotient in float32 and rounded to x's dtype before scaling."""

    def __init__(self, width: int, eps: float, *, dtype: jnp.dtype):
        self.scale = nnx.Param(jnp.ones((width,), dtype))
        self.eps = eps

    @typed
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        wide = x.astype(jnp.float32)
        unit = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return self.scale[...] * unit.astype(x.dtype)


class GatedMLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, mlp_width: int, *, use_bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.gate = linear(width, mlp_width, use_bias=use_bias, dtype=dtype, rngs=rngs)
        self.up = linear(width, mlp_width, use_bias=use_bias, dtype=dtype, rngs=rngs)
        self.down = linear(mlp_width, width, use_bias=use_bias, dtype=dtype, rngs=rngs)

    @typed
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


def linear(
    inputs: int, outputs: int, *, use_bias: bool = True, dtype: jnp.dtype, rngs: nnx.Rngs
) -> nnx.Linear:
    """x @ kernel + bias with the reference's initial values: normal(0.02) kernels [inputs, outputs], zero biases."""
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=use_bias,
        param_dtype=dtype,
        kernel_init=nnx.initializers.normal(0.02),
        rngs=rngs,
    )
