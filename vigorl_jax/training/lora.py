"""Low-rank adapters (LoRA, arXiv:2106.09685) on a frozen model, quantised if wanted (QLoRA, arXiv:2305.14314).

Made by qwix, the optional extra `lora`, which rewrites the products of the layers while they are traced. Adapters lie
beside the kernels that they belong to, "kernel_lora_a" [inputs, rank] and "kernel_lora_b" [rank, outputs]; a quantised
kernel is a dict of "qvalue" and "scale" in the place of the array.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigorl_jax.qwen25vl import model, sharding
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, Qwen25VL
from vigorl_jax.training.trainable import SEPARATOR

# As a pattern of what is frozen: everything but adapters.
ADAPTED_ONLY = r"^(?!.*_lora_[ab]$)"
QUANTISED = ("int8", "int4", "nf4")
# Keys under which qwix keeps a quantised kernel.
_QVALUE, _SCALE = f"{SEPARATOR}array{SEPARATOR}qvalue", f"{SEPARATOR}array{SEPARATOR}scale"


@dataclasses.dataclass(frozen=True)
class LoraSettings:
    """Adapters of the language model's kernels.

    Attributes:
      rank: of the adapters.
      alpha: their products are multiplied by alpha / rank.
      modules: pattern of the modules that get one, such as "layers/0/attn/q".
      quantised: number format of the kernels that have adapters, one of QUANTISED; None leaves them as they are.
      tile_size: inputs of a kernel that share a scale; must divide the inputs of all of them.
      seed: of the adapters' first values.
    """

    rank: int = 16
    alpha: float = 32.0
    modules: str = "layers/.*"
    quantised: str | None = None
    tile_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what no adapter can be made of."""
        if self.rank < 1:
            raise ValueError(f"LoraSettings.rank is {self.rank}; give at least 1")
        if self.quantised is not None and self.quantised not in QUANTISED:
            raise ValueError(
                f"LoraSettings.quantised is {self.quantised!r}; choose one of {', '.join(QUANTISED)}, or None"
            )


class Adapted:
    """A `network.Network` of a frozen model and its adapters."""

    def __init__(self, config: Config, settings: LoraSettings):
        """Needs the extra `lora`.

        Raises:
          ValueError: qwix is not installed.
        """
        try:
            import qwix  # noqa: F401
        except ImportError as error:
            raise ValueError("lora needs qwix: pip install 'vigorl_jax[lora]', or leave lora off") from error
        self._config, self._settings = config, settings

    def from_plain(self, params: Params) -> Params:
        """See Network: the second factor of every adapter is 0."""

        @jax.jit
        def adapt(params: Params) -> Params:
            return nnx.to_pure_dict(nnx.state(_adapted(self._settings, model.bind(self._config, params))))

        return adapt(params)

    def to_plain(self, params: Params) -> Params:
        """See Network: kernels as they are quantised, plus the product of their adapters."""
        return _merge(params, self._config, self._settings)

    def without_training(self, trained: Params) -> Params:
        """See Network: adapters that are off."""
        return jax.tree.map(jnp.zeros_like, trained)

    def abstract(self, dtype: jnp.dtype) -> Params:
        """See Network."""
        return nnx.to_pure_dict(_abstract(self._config, self._settings, jnp.dtype(dtype))[1])

    def shardings(self, mesh: Mesh) -> Params:
        """See Network: adapters and quantised kernels lie as the kernels that they belong to."""
        plain = traverse_util.flatten_dict(sharding.param_shardings(self._config, mesh), sep=SEPARATOR)

        def of(path: str) -> NamedSharding:
            owner = re.sub(r"_lora_[ab]$|/array/(qvalue|scale)$", "", path)
            rows, columns = (*plain[owner].spec, None)[:2]
            if path.endswith("_lora_a"):
                return NamedSharding(mesh, PartitionSpec(rows, None))
            if path.endswith(("_lora_b", _SCALE)):
                return NamedSharding(mesh, PartitionSpec(None, columns))
            return plain[owner]

        flat = traverse_util.flatten_dict(self.abstract(jnp.float32), sep=SEPARATOR)
        return traverse_util.unflatten_dict({path: of(path) for path in flat}, sep=SEPARATOR)

    def bind(self, params: Params) -> Qwen25VL:
        """See Network."""
        graph, state = _abstract(self._config, self._settings, jnp.dtype(jnp.float32))
        state = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)


def _adapted(settings: LoraSettings, bound: Qwen25VL) -> Qwen25VL:
    """The model with adapters, made while it is traced on a row of two tokens."""
    import qwix

    quantised = {"weight_qtype": settings.quantised, "tile_size": settings.tile_size}
    provider = qwix.LoraProvider(
        module_path=settings.modules,
        rank=settings.rank,
        alpha=settings.alpha,
        **(quantised if settings.quantised else {}),
    )
    for _, module in bound.language_model.iter_modules():
        if isinstance(module, nnx.Linear):
            # qwix rewrites this one, and not a function with its own gradient.
            module.dot_general = jax.lax.dot_general
    width, dtype = bound.language_model.config.width, bound.language_model.embed.embedding.dtype
    bound.language_model = qwix.apply_lora_to_model(
        bound.language_model,
        provider,
        jnp.zeros((1, 2, width), dtype),
        jnp.zeros((3, 1, 2), jnp.int32),
        rngs=nnx.Rngs(settings.seed),
    )
    return bound


@functools.lru_cache(maxsize=8)
def _abstract(config: Config, settings: LoraSettings, dtype: jnp.dtype):
    def make() -> Qwen25VL:
        return _adapted(settings, Qwen25VL(config, dtype=dtype, rngs=nnx.Rngs(0)))

    return nnx.split(nnx.eval_shape(make))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _merge(params: Params, config: Config, settings: LoraSettings) -> Params:
    flat = traverse_util.flatten_dict(params, sep=SEPARATOR)
    scale = settings.alpha / settings.rank
    merged = {}
    for path, leaf in traverse_util.flatten_dict(model.abstract_params(config), sep=SEPARATOR).items():
        kernel = flat[path] if path in flat else _dequantised(flat, path, settings)
        if f"{path}_lora_a" in flat:
            kernel = kernel + scale * flat[f"{path}_lora_a"] @ flat[f"{path}_lora_b"]
        merged[path] = kernel.reshape(leaf.shape)
    return traverse_util.unflatten_dict(merged, sep=SEPARATOR)


def _dequantised(flat: Params, path: str, settings: LoraSettings) -> jax.Array:
    import qwix

    kernel = qwix.QArray(flat[path + _QVALUE], flat[path + _SCALE], qtype=settings.quantised)
    return qwix.dequantize(kernel)
