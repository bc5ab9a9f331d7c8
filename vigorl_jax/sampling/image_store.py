"""Image embeddings on the device, encoded once for each image and version of the tower."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vigorl_jax.array_typing import Array, Float
from vigorl_jax.processing.patches import normalise, pack_patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, bind
from vigorl_jax.qwen25vl.patch_layout import PatchLayout, patch_layout
from vigorl_jax.qwen25vl.sharding import batch_sharding
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.sampling.call_sizes import images_at_once
from vigorl_jax.sampling.placement import row_devices
from vigorl_jax.sampling.requests import Image, SamplingError
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.sampling.shapes import Shapes

Item = TypeVar("Item")


class ImageStore:
    """Embeddings of the images that were used last, in one array whose shape never changes.

    Attributes:
      embeds: embeddings of merged patches; `rows` says which belong to an image  # [image_tokens, D]
    """

    def __init__(
        self,
        config: Config,
        shapes: Shapes,
        settings: ImageSettings,
        dtype: jnp.dtype,
        *,
        mesh: Mesh | None = None,
    ):
        self.config, self.shapes, self.settings = config, shapes, settings
        self._mesh = mesh
        everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        self.embeds = jnp.zeros((shapes.image_tokens, config.text.width), dtype, device=everywhere)
        self.encoded = 0  # images that went through the tower, for the account
        self._version: Hashable = None
        self._seen: SeenImages | None = None
        self._rows: OrderedDict[str, np.ndarray] = OrderedDict()
        self._free = np.arange(shapes.image_tokens, dtype=np.int32)
        self._encode = functools.partial(_encode, config=config, placed=everywhere)

    def at_version(self, version: Hashable, seen: SeenImages | None = None) -> None:
        """Forgets every image if the parameters of the tower are not those of `version`.

        seen: an empty one, to be given all embeddings of a new version from now on; None keeps none beyond the store's.
        """
        if version != self._version:
            self._drop(list(self._rows))
            self._version, self._seen = version, seen

    def add(self, params: Params, images: Iterable[Image]) -> None:
        """Encodes the images that are not kept yet, images of equal bucketed size together.

        Raises:
          SamplingError: the images do not all fit at once.
        """
        images = list(images)
        if self._seen is not None:
            self._seen.ask(images)
        wanted = {image.key: image for image in images}
        new = [image for key, image in wanted.items() if key not in self._rows]
        for key in wanted.keys() & self._rows.keys():
            self._rows.move_to_end(key)
        self._make_room(self.tokens(new), wanted)
        by_size: dict[int, list[Image]] = {}
        for image in new:
            by_size.setdefault(patch_layout([image.grid], self.config.vision).bucket[1], []).append(image)
        for patch_slots, same_size in by_size.items():
            for taken, rows in self.shapes.batches(len(same_size), most=images_at_once(patch_slots)):
                self._add_batch(params, same_size[:taken], rows)
                del same_size[:taken]

    def portions(
        self, items: Iterable[Item], images_of: Callable[[Item], Sequence[Image]]
    ) -> Iterator[list[Item]]:
        """Cuts items into runs whose images can be kept at once; each item's alone must fit (`tokens`)."""
        portion: list[Item] = []
        taken = 0
        for item in items:
            tokens = self.tokens(images_of(item))
            if portion and taken + tokens > len(self.embeds):
                yield portion
                portion, taken = [], 0
            portion.append(item)
            taken += tokens
        if portion:
            yield portion

    def tokens(self, images: Iterable[Image]) -> int:
        """Embeddings that the images take."""
        return sum(image.patches.count for image in images) // self.config.vision.spatial_merge_size**2

    def rows(self, images: Sequence[Image]) -> np.ndarray:
        """Rows of `embeds` that hold the images' merged patches, image after image, raster by raster."""
        return np.concatenate([self._rows[image.key] for image in images])

    def _make_room(self, tokens: int, wanted: Iterable[str]) -> None:
        for key in [key for key in self._rows if key not in wanted]:
            if len(self._free) >= tokens:
                return
            self._drop([key])
        if len(self._free) < tokens:
            raise SamplingError(
                f"{tokens} new image tokens at once, {len(self._free)} of {len(self.embeds)} kept embeddings can be "
                "freed: make image_tokens of the shapes larger, or images smaller"
            )

    def _drop(self, keys: Iterable[str]) -> None:
        self._free = np.concatenate([self._free, *(self._rows.pop(key) for key in keys)])

    def _add_batch(self, params: Params, images: Sequence[Image], rows: int) -> None:
        layout = patch_layout([image.grid for image in images], self.config.vision, rows=rows)
        patches = pack_patches([image.patches for image in images], length=layout.source.size)
        batch = self._spread(PatchBatch.from_layout(normalise(patches, self.settings), layout))
        self.embeds, new = self._encode(params, self.embeds, batch, self._allot(images, layout))
        self._keep(images, new, layout)
        self.encoded += len(images)

    def _keep(self, images: Sequence[Image], embeds: Array, layout: PatchLayout) -> None:
        if self._seen is not None:
            self._seen.keep(images, embeds, layout.token_slots)

    def _spread(self, batch: PatchBatch) -> PatchBatch:
        """The images shared out among the devices that share rows, where these divide them."""
        if self._mesh is None or batch.source.shape[0] % row_devices(self._mesh):
            return batch
        return jax.device_put(batch, batch_sharding(self._mesh))

    def _allot(self, images: Sequence[Image], layout: PatchLayout) -> np.ndarray:
        """Row of `embeds` for each merged slot of the layout, one behind the end for padding."""
        merged = layout.source.size // self.config.vision.spatial_merge_size**2
        target = np.full(merged, len(self.embeds), np.int32)
        for image, slots in zip(images, layout.token_slots, strict=True):
            rows, self._free = np.split(self._free, [len(slots)])
            self._rows[image.key] = target[slots] = rows
        return target


@functools.partial(jax.jit, static_argnames=("config", "placed"), donate_argnames="embeds")
def _encode(
    params: Params,
    embeds: Float[Array, "M D"],
    batch: PatchBatch,
    target: Array,
    *,
    config: Config,
    placed: NamedSharding | None,
) -> tuple[Float[Array, "M D"], Float[Array, "N D"]]:
    """The kept embeddings with those of the batch in the target rows, and the batch's; one compilation for all stores
    of a model.
    """
    new = bind(config, params).visual(batch).astype(embeds.dtype)
    embeds = embeds.at[target].set(new, mode="drop")
    return (embeds if placed is None else jax.lax.with_sharding_constraint(embeds, placed)), new
