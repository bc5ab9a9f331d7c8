"""Two tables: from parameter paths to logical axes, and from logical axes to the axes of the device mesh."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, abstract_params

MESH_AXES = ("data", "fsdp", "tensor")

# The first pattern found in a parameter's path names the logical axis of each of its dimensions.
PARAMETER_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"^language_model/embed/embedding$", ("vocab", "embed")),
    (r"^lm_head/kernel$", ("embed", "vocab")),
    (r"^language_model/.*/attn/[kv]/kernel$", ("embed", "kv_heads")),
    (r"^language_model/.*/attn/[kv]/bias$", ("kv_heads",)),
    (r"^language_model/.*/attn/q/kernel$", ("embed", "heads")),
    (r"^language_model/.*/attn/q/bias$", ("heads",)),
    (r"^visual/.*/attn/[qkv]/kernel$", ("embed", "vision_heads")),
    (r"^visual/.*/attn/[qkv]/bias$", ("vision_heads",)),
    (r"^visual/.*/attn/proj/kernel$", ("vision_heads", "embed")),
    (r"/attn/o/kernel$", ("heads", "embed")),
    (r"/mlp/(gate|up)/kernel$", ("embed", "mlp")),
    (r"/mlp/(gate|up)/bias$", ("mlp",)),
    (r"/mlp/down/kernel$", ("mlp", "embed")),
    (r"^visual/merger/fc1/kernel$", ("embed", "mlp")),
    (r"^visual/merger/fc1/bias$", ("mlp",)),
    (r"^visual/merger/fc2/kernel$", ("mlp", "embed")),
    (r"^visual/patch_embed/kernel$", (None, "embed")),
    (r"/scale$|/attn/proj/bias$|/mlp/down/bias$|/fc2/bias$", (None,)),
)

LOGICAL_TO_MESH: Mapping[str, str | tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "embed": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "vision_heads": "tensor",
    "mlp": "tensor",
}


def make_mesh(data: int, fsdp: int, tensor: int) -> Mesh:
    """A mesh over all devices whose shardings XLA propagates by itself.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.device_count()
    if data * fsdp * tensor != devices:
        raise ValueError(
            f"a mesh of data {data} x fsdp {fsdp} x tensor {tensor} needs {data * fsdp * tensor} devices, "
            f"{devices} are there; choose sizes with the product {devices}"
        )
    return jax.make_mesh((data, fsdp, tensor), MESH_AXES, axis_types=(AxisType.Auto,) * 3)


def logical_axes(path: str) -> tuple[str | None, ...]:
    """The logical axis of each dimension of the parameter at `path` ("language_model/norm/scale").

    Raises:
      KeyError: no row of PARAMETER_AXES matches.
    """
    for pattern, axes in PARAMETER_AXES:
        if re.search(pattern, path):
            return axes
    raise KeyError(f"no logical axes for the parameter {path!r}; add a row to PARAMETER_AXES")


def param_shardings(config: Config, mesh: Mesh) -> Params:
    """A NamedSharding for every parameter of the model, as a dict nested like the parameters.

    A dimension stays whole where its mesh axes do not divide it; a dimension of heads, where they do not divide
    the number of heads, so that no head is ever cut.
    """
    units = {
        "heads": config.text.num_heads,
        "kv_heads": config.text.num_kv_heads,
        "vision_heads": config.vision.num_heads,
    }

    def sharding(key_path, leaf) -> NamedSharding:
        axes = logical_axes("/".join(key.key for key in key_path))
        divided = [units.get(axis, size) for axis, size in zip(axes, leaf.shape, strict=True)]
        return NamedSharding(mesh, _spec(axes, divided, mesh))

    return jax.tree_util.tree_map_with_path(sharding, abstract_params(config))


def batch_sharding(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
    """Rows of a batch, at dimension `axis`, spread over the data and fsdp axes."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, _mesh_axes("batch", mesh)))


def _spec(axes: tuple[str | None, ...], sizes: list[int], mesh: Mesh) -> PartitionSpec:
    names = [_mesh_axes(axis, mesh) for axis in axes]
    return PartitionSpec(
        *(
            name if size % _mesh_size(name, mesh) == 0 else None
            for name, size in zip(names, sizes, strict=True)
        )
    )


def _mesh_axes(logical: str | None, mesh: Mesh) -> str | tuple[str, ...] | None:
    axes = LOGICAL_TO_MESH.get(logical)
    if isinstance(axes, tuple):
        return tuple(axis for axis in axes if axis in mesh.shape)
    return axes if axes in mesh.shape else None


def _mesh_size(name: str | tuple[str, ...] | None, mesh: Mesh) -> int:
    names = (name,) if isinstance(name, str) else name or ()
    return int(np.prod([mesh.shape[axis] for axis in names]))
