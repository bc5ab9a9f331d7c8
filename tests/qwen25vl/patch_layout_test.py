"""The slots that patches of packed images take in the vision tower."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.qwen25vl.patch_layout import PADDING, patch_layout, tile_slots
from vigorl_jax.testing.models import random_config

CONFIG = dataclasses.replace(random_config(0).vision, window_size=112)  # windows of 8 x 8 patches
GRIDS = st.lists(
    st.tuples(st.just(1), *[st.integers(1, 14).map(lambda n: 2 * n)] * 2), min_size=1, max_size=6
)


@settings(max_examples=150, deadline=None)
@given(GRIDS, st.sampled_from([28, 56, 84, 112]))
def test_every_patch_has_one_slot_its_image_one_row_and_its_window_one_tile(grids, window_size):
    config = dataclasses.replace(CONFIG, window_size=window_size)
    layout = patch_layout(grids, config)
    tile = tile_slots(config)
    filled = layout.source != PADDING
    total = sum(h * w for _, h, w in grids)
    assert sorted(layout.source[filled]) == list(range(total))
    assert layout.source.shape[1] % tile == 0
    owner = np.repeat(np.arange(len(grids)), [h * w for _, h, w in grids])[layout.source[filled]]
    rows = np.nonzero(filled)[0]
    assert (layout.images[filled] == owner).all()
    assert all(len(set(rows[owner == i])) == 1 for i in range(len(grids)))
    _check_windows(layout, filled, owner, window_size // 14, tile)


def _check_windows(layout, filled, owner, side, tile):
    """Slots share a tile and a window id exactly when their patches share an image and a window of it."""
    row, column = (layout.coordinates[filled] // side).T
    truth = [tuple(x) for x in np.stack([owner, row, column], axis=-1)]
    flat = np.flatnonzero(filled)
    ours = list(zip(flat // tile, layout.windows[filled], strict=True))
    assert len(set(truth)) == len(set(ours)) == len(set(zip(truth, ours, strict=True)))


def test_windows_are_those_of_the_pytorch_model():
    torch = pytest.importorskip("torch")
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import get_vision_window_index

    grid = (1, 10, 14)
    index, bounds = get_vision_window_index(
        torch.tensor([grid]), spatial_merge_size=2, window_size=112, patch_size=14
    )
    bounds = bounds.unique_consecutive() // 4
    theirs = {frozenset(index[a:b].tolist()) for a, b in itertools.pairwise(bounds)}
    layout = patch_layout([grid], CONFIG)
    tile = np.arange(layout.source.size) // tile_slots(CONFIG)
    keys = {}
    for slot, (source, window) in enumerate(zip(layout.source.ravel(), layout.windows.ravel(), strict=True)):
        if source != PADDING:
            keys.setdefault((tile[slot], window), set()).add(source // 4)
    assert {frozenset(units) for units in keys.values()} == theirs


def test_token_slots_follow_each_image_raster_by_raster():
    layout = patch_layout([(1, 4, 4), (1, 2, 6)], CONFIG)
    units = layout.source.reshape(-1, 4)
    for tokens, first_patch, count in zip(layout.token_slots, (0, 16), (4, 3), strict=True):
        assert units[tokens].tolist() == [[first_patch + 4 * u + j for j in range(4)] for u in range(count)]


def test_coordinates_count_patches_within_merge_units_first():
    layout = patch_layout([(1, 2, 4)], CONFIG)
    order = np.argsort(np.where(layout.source == PADDING, 1_000, layout.source).ravel())[:8]
    coordinates = layout.coordinates.reshape(-1, 2)[order]
    assert coordinates.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]


def test_partial_windows_share_tiles_and_small_images_share_rows():
    assert patch_layout([(1, 2, 2)] * 16, CONFIG).bucket == (1, 64)
    assert patch_layout([(1, 12, 8)], CONFIG).bucket == (1, 128)
    assert patch_layout([(1, 8, 8)] * 5, CONFIG).bucket == (5, 64)
    # Windows of 64, 32, 32 and 16 patches: two tiles and a quarter, so three.
    assert patch_layout([(1, 12, 12)], CONFIG).bucket == (1, 192)


def test_rows_can_be_raised_to_a_multiple_of_the_devices():
    assert patch_layout([(1, 8, 8)] * 3, CONFIG, rows=8).bucket == (8, 64)


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([], "no images"),
        ([(2, 4, 4)], "2 frames: video is not supported"),
        ([(1, 4, 3)], r"\(1, 4, 3\) does not divide into 2 x 2"),
        ([(1, 0, 4)], "does not divide"),
    ],
)
def test_grids_that_the_tower_cannot_take_are_refused(grids, message):
    with pytest.raises(ValueError, match=message):
        patch_layout(grids, CONFIG)
