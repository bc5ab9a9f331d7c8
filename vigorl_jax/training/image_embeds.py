"""The tower's share of an update: what frozen parameters compute is computed once.

Images come as patches, or as what the tower has already made of them: the hidden states of all patches before the
merger [N, R, D], or embeddings of merge units [units, D_out].
"""

import dataclasses

import numpy as np

from vigorl_jax.array_typing import Array
from vigorl_jax.qwen25vl.model import Params, Qwen25VL
from vigorl_jax.qwen25vl.patch_layout import PADDING
from vigorl_jax.qwen25vl.vision import PatchBatch

Images = PatchBatch | Array


def image_embeds(model: Qwen25VL, images: Images) -> Array:
    """Embeddings of merge units, from wherever `frozen_part` has stopped."""
    if isinstance(images, PatchBatch):
        return model.visual(images)
    return model.visual.merger(images) if images.ndim == 3 else images


def frozen_part(model: Qwen25VL, images: Images, trained: Params) -> Images:
    """Goes as far as parameters that are not trained lead: to embeddings, up to the merger, or nowhere.

    trained: the trained parameters, of which only the names matter.
    """
    trained_parts = set(trained.get("visual", {}))
    if not isinstance(images, PatchBatch) or trained_parts - {"merger"}:
        return images
    return model.visual.hidden(images) if trained_parts else model.visual(images)


def pad_rows(images: PatchBatch, multiple: int) -> PatchBatch:
    """With empty rows up to a multiple of the devices that share them, on the host; as it was if none is missing."""
    rows = -images.source.shape[0] % multiple
    if not rows and images.patches.shape[0] % multiple == 0:
        return images

    def pad(x: Array, value: int) -> np.ndarray:
        return np.pad(np.asarray(x), [(0, rows)] + [(0, 0)] * (x.ndim - 1), constant_values=value)

    patches = np.asarray(images.patches)
    return dataclasses.replace(
        images,
        patches=np.pad(patches, ((0, -patches.shape[0] % multiple), (0, 0))),
        source=pad(images.source, PADDING),
        coordinates=pad(images.coordinates, 0),
        windows=pad(images.windows, PADDING),
        images=pad(images.images, PADDING),
    )
