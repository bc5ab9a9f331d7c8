"""Patches on the device: kept as bytes in the model's order, packed for a batch, normalised when they are used.

Bytes take an eighth of the memory of the float patches that the network reads (every pixel is there twice, in float32):
images of a whole batch of episodes stay on the device as bytes, and `normalise` runs once, on the packed batch.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from vigorl_jax.array_typing import Array, typed
from vigorl_jax.buckets import bucket
from vigorl_jax.processing.resample import patch_order
from vigorl_jax.processing.settings import Grid, ImageSettings

PatchBytes = UInt8[Array, "P _pixels"]


@dataclasses.dataclass(frozen=True)
class Patches:
    """The patches of some images, one image after the other.

    Attributes:
      pixels: uint8; merge unit after merge unit, in a unit row by row, in a patch channel, row, column; zeros behind
        the last patch  # [P, channels * patch_size ** 2]
      grids: (t, h, w) of each image, in patches.
    """

    pixels: PatchBytes
    grids: tuple[Grid, ...]

    @property
    def count(self) -> int:
        """Patches of all images, without the padding."""
        return sum(math.prod(grid) for grid in self.grids)


@functools.partial(jax.jit, donate_argnums=0)
@typed
def place_patches(target: PatchBytes, source: UInt8[Array, "..."], index: Int[Array, "..."]) -> PatchBytes:
    """Writes patch i of source to row index[i] of the donated target.

    Both may have any leading axes. Indexes are distinct; those behind the target's end write nothing.
    """
    source = source.reshape(-1, target.shape[1])
    return target.at[index.reshape(-1)].set(source, mode="drop", unique_indices=True)


@jax.jit
@typed
def _take(pixels: PatchBytes, index: Int[Array, "n"]) -> UInt8[Array, "n _pixels"]:
    return pixels.at[index].get(mode="fill", fill_value=0)


def pack_patches(parts: Sequence[Patches], *, length: int | None = None) -> Patches:
    """Joins patches into one array padded to `length` rows, or to the bucket of their number.

    Compiles once per pair of bucketed sizes, whatever the images; host arrays are joined on the host. Patches of grids
    (1, 4, 6) and (1, 2, 2), 28 in all, come back in 28 rows, the second image from row 24.

    Raises:
      ValueError: nothing to pack, or more patches than `length`.
    """
    if not parts:
        raise ValueError("pack_patches of no images; leave the vision tower out for text alone")
    total = sum(part.count for part in parts)
    length = length or bucket(total)
    if total > length:
        raise ValueError(f"{total} patches do not fit {length} rows; give a larger length")
    if all(isinstance(part.pixels, np.ndarray) for part in parts):
        joined = np.zeros((length, parts[0].pixels.shape[1]), np.uint8)
        joined[:total] = np.concatenate([part.pixels[: part.count] for part in parts])
        return Patches(jax.device_put(joined), tuple(grid for part in parts for grid in part.grids))
    pixels = jnp.zeros((length, parts[0].pixels.shape[1]), jnp.uint8)
    start = 0
    for part in parts:
        # Padding rows of a part are overwritten by the next part, or are zeros behind the end.
        pixels = place_patches(
            pixels, part.pixels, np.arange(start, start + part.pixels.shape[0], dtype=np.int32)
        )
        start += part.count
    return Patches(pixels, tuple(grid for part in parts for grid in part.grids))


def unpack_patches(patches: Patches) -> list[Patches]:
    """One Patches for each image, padded to its own bucket: a batch of crops that go to different episodes, say."""
    parts, start = [], 0
    for grid in patches.grids:
        count = math.prod(grid)
        index = np.full(bucket(count), patches.pixels.shape[0], np.int32)
        index[:count] = np.arange(start, start + count)
        parts.append(Patches(_take(patches.pixels, index), (grid,)))
        start += count
    return parts


def normalise(patches: Patches, settings: ImageSettings) -> Float[Array, "P _floats"]:
    """The float patches that the network reads: (pixel / 255 - mean) / std, every pixel `temporal_patch_size` times.

    float32 [P, channels * temporal_patch_size * patch_size ** 2] in the order of transformers' image processor, within
    5e-7 of its values; zeros behind the last patch.
    """
    return _normalise(patches.pixels, patches.count, settings)


@functools.partial(jax.jit, static_argnames="settings")
@typed
def _normalise(
    pixels: PatchBytes, count: Int[Array, ""] | int, settings: ImageSettings
) -> Float[Array, "P _floats"]:
    area = settings.patch_size**2
    mean, std = (jnp.repeat(jnp.asarray(v, jnp.float32), area) for v in (settings.mean, settings.std))
    values = (pixels.astype(jnp.float32) / 255.0 - mean) / std
    values = jnp.where(jnp.arange(pixels.shape[0])[:, None] < count, values, 0.0)
    channels = values.reshape(-1, len(settings.mean), area)
    # Joined flat: a broadcast over a new axis of time runs several times slower on a CPU.
    return jnp.concatenate([channels] * settings.temporal_patch_size, axis=2).reshape(pixels.shape[0], -1)


def from_image(pixels: np.ndarray, settings: ImageSettings) -> Patches:
    """The patches of a picture that already has its size in the model, made on the host; the inverse of `to_images`.

    pixels: uint8 RGB [H, W, 3], both sides multiples of `settings.unit`.
    """
    height, width, channels = pixels.shape
    size, merge, unit = settings.patch_size, settings.merge_size, settings.unit
    split = pixels.reshape(height // unit, merge, size, width // unit, merge, size, channels)
    ordered = np.ascontiguousarray(split.transpose(0, 3, 1, 4, 6, 2, 5)).reshape(-1, channels * size**2)
    return Patches(ordered, ((1, height // size, width // size),))


def to_images(patches: Patches, settings: ImageSettings) -> list[np.ndarray]:
    """The pictures that the model sees, as uint8 RGB [H, W, 3] on the host, for reports and checks."""
    host = np.asarray(patches.pixels)
    images, start = [], 0
    side = settings.patch_size
    for grid in patches.grids:
        _, rows, columns = grid
        order = patch_order(rows, columns, settings.merge_size)
        tiles = host[start : start + order.size][order].reshape(rows, columns, 3, side, side)
        images.append(
            np.ascontiguousarray(tiles.transpose(0, 3, 1, 4, 2)).reshape(rows * side, columns * side, 3)
        )
        start += order.size
    return images
