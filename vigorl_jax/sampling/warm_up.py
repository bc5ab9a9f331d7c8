"""Compiles every declared shape before the first episode, so that no later call has to wait for a compilation."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import Grid
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.pieces import TEXT, pad_turns
from vigorl_jax.sampling.requests import Image, Stream, TurnSettings
from vigorl_jax.sampling.sampler import Pieces, Sampler
from vigorl_jax.sampling.slots import Slots, Turns
from vigorl_jax.sampling.stops import StopTable


def warm_up(
    sampler: Sampler, params: Params, images: ImageStore, stops: StopTable, grids: Sequence[Grid] = ()
) -> dict[str, int]:
    """Runs each step once at each of its shapes, on nothing; returns how many shapes of each step are compiled.

    stops: any table of the size in use. grids: of images to come, one for each bucketed size that is to be compiled.
    """
    shapes, params = sampler.shapes, sampler.prepare(params)
    _encode_blank(params, images, grids)
    slots = sampler.empty_slots(images.embeds.dtype)
    for rows, length in itertools.product(shapes.row_counts, shapes.prompt_lengths):
        prefilled = sampler.prefill(params, images.embeds, _blank(rows, length))
        if shapes.prefixes:
            slots, _ = sampler.share(slots, prefilled, np.full(rows, shapes.prefixes, np.int32))
        for placed in shapes.row_counts:
            nothing = np.zeros(placed, np.int32)
            slots, _ = sampler.place(slots, prefilled, nothing, nothing, _nowhere(sampler, placed), stops)
    for rows, length, read in itertools.product(shapes.row_counts, shapes.extend_lengths, shapes.reads):
        slots, _ = sampler.extend(
            params, images.embeds, slots, _blank(rows, length), _nowhere(sampler, rows), stops, read=read
        )
    jax.block_until_ready(_decode(sampler, params, slots, stops))
    return sampler.compilations()


def _decode(sampler: Sampler, params: Params, slots: Slots, stops: StopTable) -> Slots:
    shapes = sampler.shapes
    members = places = None
    if shapes.prefixes:
        members = np.zeros((shapes.prefixes, shapes.group), np.int32)
        places = np.zeros(shapes.slots, np.int32)
    for read in shapes.reads:
        one = np.int32(1)
        slots, _ = sampler.decode(params, slots, members, places, stops, one, one, read=read)
    return slots


def _encode_blank(params: Params, images: ImageStore, grids: Sequence[Grid]) -> None:
    """Encodes as many blank images of each grid at a time as a call may hold and the store can keep."""
    images.at_version("warm up")
    pixels = 3 * images.settings.patch_size**2
    for grid, rows in itertools.product(grids, images.shapes.row_counts):
        count = grid[1] * grid[2]
        blank = Patches(jnp.zeros((bucket(count), pixels), jnp.uint8), (grid,))
        if rows * count // images.settings.merge_size**2 <= images.shapes.image_tokens:
            images.add(params, [Image(blank, f"blank {grid} {rows} {i}") for i in range(rows)])
    images.at_version(None)


def _blank(rows: int, length: int) -> Pieces:
    tokens = np.zeros((rows, length), np.int32)
    return Pieces(
        tokens, np.zeros((3, rows, length), np.int32), np.full_like(tokens, TEXT), np.ones(rows, np.int32)
    )


def _nowhere(sampler: Sampler, rows: int) -> Turns:
    no_slot = sampler.shapes.slots
    return pad_turns([(no_slot, Stream(0, 0, 0, 0), 0, 0, 1, TurnSettings(1))], rows=rows, no_slot=no_slot)
