"""Layers that the vision tower and the language model share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from vigorl_jax.array_typing import Array, Float, typed

# Called with the name and the value of each stage of a forward pass, while it is traced. Names are those of the
# PyTorch model's modules, so that the two can be compared stage by stage.
Observer = Callable[[str, Array], None]


# Applied to each layer's function before it is called: `jax.checkpoint`, say, to recompute it in the backward pass.
WrapLayer = Callable[[Callable], Callable]


# Name of every product with weights in the policies of `jax.checkpoint`, which do not look into custom gradients.
PRODUCT = "product"


def unobserved(name: str, value: Array) -> None:
    """The observer that ignores everything."""


def unwrapped(layer: Callable) -> Callable:
    """Leaves layers as they are."""
    return layer


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
        dot_general=_dot_general,
        rngs=rngs,
    )


@jax.custom_vjp
def product(x: Float[Array, "... D"], kernel: Float[Array, "D F"]) -> Float[Array, "... F"]:
    """x @ kernel, with its own order of operands in the kernel's gradient.

    JAX makes that gradient transposed and turns it round. XLA for CPU then copies activations [tokens, F] and
    multiplies in its slowest form: a training step of a small model takes a fifth longer (measured). Here the product
    comes out as it is wanted, and where a copy is needed it is of the narrower operand.
    """
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel), (x, kernel)


def _product_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    by_kernel = (((gradient.ndim - 1,), (1,)), ((), ()))
    tokens = tuple(range(x.ndim - 1))
    by_token = ((tokens, tokens), ((), ()))
    if kernel.shape[0] <= kernel.shape[1]:
        of_kernel = jax.lax.dot_general(x, gradient, by_token)
    else:
        # The barrier keeps XLA from exchanging the operands to save the small transpose.
        of_kernel = jax.lax.optimization_barrier(jax.lax.dot_general(gradient, x, by_token)).T
    return jax.lax.dot_general(gradient, kernel, by_kernel), of_kernel


product.defvjp(_product_forward, _product_backward)


def _dot_general(x: Array, kernel: Array, dimensions: object, **unused: object) -> Array:
    """`product` in the form in which nnx.Linear calls it, always over the last axis of x."""
    return checkpoint_name(product(x, kernel), PRODUCT)
