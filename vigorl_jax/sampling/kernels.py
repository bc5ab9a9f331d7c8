"""Kernels turned to [out, in] on CPUs: a product with few rows becomes one of a tall matrix with few columns.

The library to which XLA leaves matrix products on CPUs packs the right factor before it multiplies. If that is the
kernel, packing it costs as much as a product with few rows; if it is the rows, it costs little. Measured in GFLOP/s of
180, float32, 2 cores of an AMD EPYC, gated MLP of width 512 and 2,048:

    rows          1    8    32    64   128   736
    [in, out]    15   40    76   144   160   177
    [out, in]    17   76   144   155   159   179
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, Mesh

from vigorl_jax.array_typing import Array, Hidden, Logits
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, bind

# Up to so many rows the turned kernel is the left factor.
FEW_ROWS = 128


def turns_kernels(mesh: Mesh | AbstractMesh | None) -> bool:
    """Whether a sampler on these devices reads turned kernels: on one CPU device."""
    return jax.default_backend() == "cpu" and (mesh is None or mesh.size == 1)


def is_turned(path: tuple[jax.tree_util.DictKey, ...]) -> bool:
    """Whether the parameter at a path is turned: kernels are, those of the vision tower apart."""
    return path[0].key != "visual" and path[-1].key == "kernel"


def turn(params: Params) -> Params:
    """The same tree with its kernels turned; what is not turned is not copied."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    turned = iter(_transpose([leaf for path, leaf in leaves if is_turned(path)]))
    return tree.unflatten([next(turned) if is_turned(path) else leaf for path, leaf in leaves])


@jax.jit
def _transpose(kernels: list[Array]) -> list[Array]:
    return [kernel.T for kernel in kernels]


class TurnedModel:
    """What a sampler uses of the model, on turned parameters.

    Attributes:
      embed, language_model: as those of `Qwen25VL`.
    """

    def __init__(self, config: Config, params: Params):
        model = bind(config, params)
        for _, module in nnx.iter_graph(model.language_model):
            if isinstance(module, nnx.Linear):
                module.dot_general = _dot_general
        self.embed, self.language_model = model.embed, model.language_model
        self._head = (
            model.language_model.embed.embedding if config.text.tie_embeddings else model.lm_head.kernel
        )[...]

    def logits(self, hidden: Hidden) -> Logits:
        """See `Qwen25VL.logits`."""
        return product(hidden, self._head, jnp.float32)


def product(x: Array, kernel: Array, dtype: jnp.dtype) -> Array:
    """x [..., in] times a turned kernel [out, in], accumulated in a dtype  # [..., out]"""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) <= FEW_ROWS:
        # Without the barriers XLA would exchange the factors again.
        columns = jax.lax.optimization_barrier(rows.T)
        out = jnp.matmul(kernel, columns, preferred_element_type=dtype)
        out = jax.lax.optimization_barrier(out).T
    else:
        out = jnp.einsum("rd,od->ro", rows, kernel, preferred_element_type=dtype)
    return out.reshape(*x.shape[:-1], -1)


def _dot_general(x: Array, kernel: Array, dimension_numbers: object, **_: object) -> Array:
    """Stands in for `jax.lax.dot_general` in a linear layer, which always contracts x's last axis."""
    return product(x, kernel, x.dtype)
