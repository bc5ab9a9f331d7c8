"""What a frozen tower makes of the images of a step, put together from what is known and calls of bounded size."""

import functools
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.array_typing import Array, Int
from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.patch_layout import PatchLayout
from vigorl_jax.training.image_table import UnitTable, patch_batch
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.state import TrainState


class Known(Protocol):
    """Embeddings that the sampler has made with the very tower of the learner."""

    def find(self, patches: Patches) -> np.ndarray | None:
        """Of an image, raster by raster [tokens, D]; None where they are not known."""


class Encoder:
    """Fills the rows of a `UnitTable` with what `Learner.encode` makes of the images.

    Args:
      learner: one whose tower is frozen (`Learner.encodes`).
      settings: of the model's images.
    """

    def __init__(self, learner: Learner, settings: ImageSettings):
        self._learner, self._settings = learner, settings
        self._merged = learner.config.vision.spatial_merge_size**2
        self._fill = jax.jit(
            functools.partial(_filled, merged=self._merged),
            donate_argnums=0,
            out_shardings=learner.placement.rows,
        )

    def __call__(self, state: TrainState, table: UnitTable, rows: int, known: Known | None = None) -> Array:
        """Embeddings, or what a trained merger takes, by merge unit  # [rows, D] or [rows, merge ** 2, width]

        Args:
          state: with the frozen parameters.
          table: the images.
          rows: at least `table.units`.
          known: what need not be encoded again; left aside where the merger is trained or dtypes differ.
        """
        learner = self._learner
        rows = -(-rows // learner.placement.row_devices) * learner.placement.row_devices
        found = self._found(table, known)
        units = None
        if found:
            units = np.zeros((rows, learner.config.text.width), jnp.dtype(learner.settings.compute_dtype))
            for number, embeds in found.items():
                units[table.slots_of[number]] = embeds
            units = jax.device_put(learner.placement.put_rows(units))
        missing = [number for number in range(len(table)) if number not in found]
        for numbers, layout in table.calls(missing, learner.placement.row_devices):
            images = patch_batch([table.images[number] for number in numbers], layout, self._settings)
            encoded = learner.encode(state, images)
            if units is None:
                units = self._no_units(encoded, rows)
            units = self._fill(units, encoded, self._targets(table, numbers, layout, rows))
        return units

    def _found(self, table: UnitTable, known: Known | None) -> dict[int, np.ndarray]:
        learner = self._learner
        if known is None or not learner.encodes_wholly:
            return {}
        pairs = ((number, known.find(patches)) for number, patches in enumerate(table.images))
        dtype = jnp.dtype(learner.settings.compute_dtype)
        return {number: embeds for number, embeds in pairs if embeds is not None and embeds.dtype == dtype}

    def _no_units(self, encoded: Array, rows: int) -> Array:
        shape = _by_unit(encoded, self._merged).shape[1:]
        return jnp.zeros((rows, *shape), encoded.dtype, device=self._learner.placement.rows)

    def _targets(
        self, table: UnitTable, numbers: Sequence[int], layout: PatchLayout, rows: int
    ) -> np.ndarray:
        """Row of each unit of a call, one behind the end for padding."""
        targets = np.full(layout.source.size // self._merged, rows, np.int32)
        for number, slots in zip(numbers, layout.token_slots, strict=True):
            targets[slots] = table.slots_of[number]
        return targets


def _filled(units: Array, encoded: Array, targets: Int[Array, "N"], merged: int) -> Array:
    return units.at[targets].set(_by_unit(encoded, merged), mode="drop")


def _by_unit(encoded: Array, merged: int) -> Array:
    """Embeddings [units, D] as they are, hidden states of patches [N, R, width] as [units, merge ** 2, width]."""
    return encoded if encoded.ndim == 2 else encoded.reshape(-1, merged, encoded.shape[-1])
