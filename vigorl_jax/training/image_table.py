"""The images of some episodes, each once, and where each lies among the embeddings that the learner is given.

A table may serve several batches, so that a frozen tower runs once for all of them.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from vigorl_jax.processing.patches import Patches, normalise, pack_patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.patch_layout import PatchLayout, patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.sampling.call_sizes import images_at_once

# Patch slots of one call of a frozen tower where the sampler has no limit: a GiB or two of activations at 3B.
MAX_PATCHES = 1 << 16


class _Table:
    """The images of episodes in the order in which they come; those of a group share the one of their example."""

    def __init__(self, episodes: Sequence[Episode]):
        by_identity = {id(view.patches): view.patches for episode in episodes for view in episode.views}
        self.images: list[Patches] = list(by_identity.values())
        self._numbers = {key: number for number, key in enumerate(by_identity)}
        self._slots: Sequence[np.ndarray] = ()

    def __len__(self) -> int:
        return len(self.images)

    def slots(self, episode: Episode) -> np.ndarray:
        """Row of the embeddings for each image token of the episode, in order.

        Raises:
          KeyError: the episode is not one of those that the table was made of.
        """
        return np.concatenate([self._slots[self._numbers[id(view.patches)]] for view in episode.views])


class ImageTable(_Table):
    """All images in one call of the tower, as a trained one needs them.

    Attributes:
      layout: where the images lie in the tower.
    """

    def __init__(self, episodes: Sequence[Episode], config: Config):
        """Takes the images from the episodes' views."""
        super().__init__(episodes)
        grids = [patches.grids[0] for patches in self.images]
        self.layout: PatchLayout = patch_layout(grids, config.vision)
        self._slots = self.layout.token_slots

    def patch_batch(self, settings: ImageSettings) -> PatchBatch:
        """What the tower takes, normalised on the device."""
        return patch_batch(self.images, self.layout, settings)


class UnitTable(_Table):
    """Embeddings image after image, raster by raster, wherever they come from.

    Attributes:
      units: of all images: rows of the embeddings.
      slots_of: for each image its rows.
    """

    def __init__(self, episodes: Sequence[Episode], config: Config):
        """Takes the images from the episodes' views."""
        super().__init__(episodes)
        self._config = config.vision
        ends = np.cumsum([patches.count // self._config.spatial_merge_size**2 for patches in self.images])
        self.units = int(ends[-1])
        self._slots = self.slots_of = np.split(np.arange(self.units, dtype=np.int32), ends[:-1])

    def calls(self, numbers: Sequence[int], row_multiple: int = 1) -> Iterator[tuple[list[int], PatchLayout]]:
        """Calls of the tower of bounded size that encode some of the images: numbers of those in a call, and layout.

        Images of equal bucketed size go together, in 1, 2, 4, ... rows, so that there are few shapes.

        row_multiple: devices that share the rows.
        """
        by_size: dict[int, list[int]] = {}
        for number in numbers:
            size = patch_layout(self.images[number].grids, self._config).bucket[1]
            by_size.setdefault(size, []).append(number)
        for size, same in sorted(by_size.items()):
            most = 1 << (images_at_once(size) or max(1, MAX_PATCHES // size)).bit_length() - 1
            for start in range(0, len(same), most):
                taken = same[start : start + most]
                rows = -(-(1 << (len(taken) - 1).bit_length()) // row_multiple) * row_multiple
                grids = [self.images[number].grids[0] for number in taken]
                yield taken, patch_layout(grids, self._config, rows=rows)


def patch_batch(images: Sequence[Patches], layout: PatchLayout, settings: ImageSettings) -> PatchBatch:
    """What the tower takes of images in a layout, normalised on the device."""
    packed = pack_patches(images, length=layout.source.size)
    return PatchBatch.from_layout(normalise(packed, settings), layout)
