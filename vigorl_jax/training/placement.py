"""Where the learner's arrays lie on a device mesh.

Every process of a run over several hosts builds the same batches from the same episodes, and hands each of its devices
the rows that are that device's. So nothing depends on how many processes there are, and no process needs to know what
another holds.
"""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigorl_jax.array_typing import Array
from vigorl_jax.qwen25vl.sharding import batch_sharding
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.training.batch import Batch
from vigorl_jax.training.image_embeds import pad_rows


class Placement:
    """Puts batches and parameters where a mesh wants them; without a mesh, on the default device."""

    def __init__(self, mesh: Mesh | None):
        self.mesh = mesh

    @property
    def row_devices(self) -> int:
        """Devices that share the rows of a batch."""
        return 1 if self.mesh is None else self.mesh.size // self.mesh.shape.get("tensor", 1)

    @property
    def rows(self) -> NamedSharding | None:
        """Of arrays that are cut along their first dimension."""
        return None if self.mesh is None else batch_sharding(self.mesh)

    @property
    def everywhere(self) -> NamedSharding | None:
        """Of arrays of which every device has all."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def put_batch(self, batch: Batch) -> Batch:
        """The batch's rows spread over the devices.

        Raises:
          ValueError: the devices do not divide the rows.
        """
        if self.mesh is None:
            return batch
        rows = batch.tokens.shape[0]
        if rows % self.row_devices:
            raise ValueError(
                f"a batch of {rows} rows cannot be split over the {self.row_devices} devices of mesh "
                f"{dict(self.mesh.shape)}; give `collate` or `pack` row_multiple={self.row_devices}"
            )
        shardings = jax.tree.map(lambda _: self.rows, batch)
        shardings = dataclasses.replace(shardings, positions=batch_sharding(self.mesh, axis=1))
        return jax.tree.map(_put, batch, shardings)

    def put_rows(self, values: Array) -> Array:
        """Numbers of a batch's targets, or the tower's output, spread like the batch's rows."""
        return values if self.mesh is None else _put(values, self.rows)

    def put_patches(self, images: PatchBatch) -> PatchBatch:
        """The rows of the tower spread over the devices, with empty rows where these do not divide them."""
        if self.mesh is None:
            return images
        return jax.tree.map(lambda x: _put(x, self.rows), pad_rows(images, self.row_devices))


def _put(x: Array | np.ndarray, sharding: NamedSharding) -> Array:
    if isinstance(x, jax.Array) and x.sharding.is_equivalent_to(sharding, x.ndim):
        return x
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
