"""What the tower made of the images of a roll out, for a learner that would encode the same with the same tower."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from vigorl_jax.array_typing import Array
from vigorl_jax.processing.patches import Patches
from vigorl_jax.sampling.requests import Image


@dataclasses.dataclass
class _Call:
    """Embeddings of one call of the tower: on the device until the next call, then on the host  # [units, D]"""

    embeds: Array | np.ndarray


class SeenImages:
    """Embeddings, on the host, of all images that a store was asked for, those that it has dropped included.

    They take about the memory of the images' bytes, which the episodes of a step hold anyway.
    """

    def __init__(self):
        # By the identity of the patches, which holding the image keeps from being that of others.
        self._images: dict[int, Image] = {}
        self._kept: dict[str, tuple[_Call, np.ndarray]] = {}
        self._last: _Call | None = None

    def find(self, patches: Patches) -> np.ndarray | None:
        """Embeddings of an image, raster by raster [tokens, D]; None for patches that no store was asked for."""
        image = self._images.get(id(patches))
        if image is None:
            return None
        call, rows = self._kept[image.key]
        return np.asarray(call.embeds)[rows]

    def ask(self, images: Iterable[Image]) -> None:
        """Notes which patches are asked for: equal images may come in several."""
        self._images |= {id(image.patches): image for image in images}

    def keep(self, images: Sequence[Image], embeds: Array, rows: Sequence[np.ndarray]) -> None:
        """Keeps what one call made of some images: `rows` are those of each in `embeds`."""
        if self._last is not None:
            # It is computed by now: its memory on the device comes back without waiting for the new one.
            self._last.embeds = np.asarray(self._last.embeds)
        embeds.copy_to_host_async()
        self._last = _Call(embeds)
        self._kept |= {image.key: (self._last, taken) for image, taken in zip(images, rows, strict=True)}
