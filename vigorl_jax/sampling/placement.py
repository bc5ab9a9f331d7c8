"""Where parameters and slots lie on a device mesh while sampling."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.qwen25vl.sharding import batch_sharding, param_shardings
from vigorl_jax.sampling.slots import Slots

GATHERED = (
    "fsdp"  # the learner's axis along which each parameter would have to be gathered in every decode step
)


def sampling_shardings(config: Config, mesh: Mesh) -> Params:
    """The learner's shardings without the axis `fsdp`: cut over `tensor`, whole in each group of devices."""

    def without(axis: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return None if axis == GATHERED else axis

    return jax.tree.map(
        lambda sharding: NamedSharding(mesh, PartitionSpec(*map(without, sharding.spec))),
        param_shardings(config, mesh),
    )


def to_sampling(config: Config, mesh: Mesh | None, dtype: jnp.dtype) -> Callable[[Params], Params]:
    """A function from the learner's parameters to the sampler's: one jitted cast and reshard.

    Parameters that already have this dtype and lie in this way come back as they are, not copied. Of the others a
    second set is made; the former one is freed as soon as nothing refers to it, so drop it before the next call.
    """
    shardings = None if mesh is None else sampling_shardings(config, mesh)
    cast = jax.jit(lambda params: jax.tree.map(lambda x: x.astype(dtype), params), out_shardings=shardings)

    def fits(leaf: jax.Array, sharding: NamedSharding) -> bool:
        return leaf.sharding.is_equivalent_to(sharding, leaf.ndim)

    def move(params: Params) -> Params:
        same_dtype = all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))
        same_place = mesh is None or all(jax.tree.leaves(jax.tree.map(fits, params, shardings)))
        return params if same_dtype and same_place else cast(params)

    return move


def row_devices(mesh: Mesh) -> int:
    """Devices over which rows are spread: all, those that share a row's heads counted once."""
    return mesh.size // mesh.shape.get("tensor", 1)


def constrain_slots(config: Config, slots: Slots, mesh: Mesh | None) -> Slots:
    """Caches cut by rows over data and fsdp and by heads over tensor, where they divide; the rest on every device."""
    if mesh is None:
        return slots
    everywhere = NamedSharding(mesh, PartitionSpec())
    cache = NamedSharding(mesh, PartitionSpec(_rows_axis(slots, mesh), _heads_axis(config, mesh)))
    prefixes = NamedSharding(mesh, PartitionSpec(None, _heads_axis(config, mesh)))
    return Slots(
        _place(slots.cache, cache),
        _place(slots.rows, everywhere),
        _place(slots.prefixes, prefixes),
        _place(slots.prefix_lengths, everywhere),
    )


def _place(tree, sharding: NamedSharding):
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, sharding), tree)


def _rows_axis(slots: Slots, mesh: Mesh) -> str | tuple[str, ...] | None:
    axis = batch_sharding(mesh).spec[0]
    return axis if slots.rows.active.shape[0] % row_devices(mesh) == 0 else None


def _heads_axis(config: Config, mesh: Mesh) -> str | None:
    return "tensor" if config.text.num_kv_heads % mesh.shape.get("tensor", 1) == 0 else None
