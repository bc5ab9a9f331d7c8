"""Batches hold the ids, places and images of their episodes, and nothing else."""

import dataclasses

import numpy as np
import pytest

from vigorl_jax.qwen25vl.rope import dialogue_positions
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.testing.models import tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate, pack
from vigorl_jax.training.image_table import ImageTable

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def episodes(make_episode, shared_view):
    """Two of one group, the second with a zoom, and one of another example."""
    return [
        make_episode(0, [4], view=shared_view),
        make_episode(1, [3, 5], view=shared_view),
        make_episode(2, [6], name="boat"),
    ]


@pytest.fixture(scope="module")
def images(episodes):
    return ImageTable(episodes, CONFIG)


def recovered(batch, row, number):
    """Ids, places, ids of targets and their log-probs of one episode of a row, in the episode's own places."""
    here = np.flatnonzero(batch.segments[row] == number)
    targets = batch.targets
    there = targets.mask[row] & (targets.episodes[row] == number)
    return (
        batch.tokens[row, here].tolist(),
        (targets.sources[row, there] + 1 - here[0]).tolist(),
        targets.tokens[row, there].tolist(),
        targets.sampler_log_probs[row, there].tolist(),
    )


def test_packed_rows_hold_each_episode_unbroken_with_its_own_positions(episodes, images):
    (batch,) = pack(episodes, images, CONFIG, length=48, advantages=[0.5, -1.0, 2.0])
    # Each image brings its merged tokens, two markers and three tokens of text.
    assert [episode.num_tokens for episode in episodes] == [6 + 5 + 4, 6 + 5 + 3 + 4 + 5 + 5, 6 + 5 + 6]
    rows = {1: (0, 0), 2: (0, 1), 0: (1, 0)}
    for index, (row, number) in rows.items():
        episode = episodes[index]
        places = np.flatnonzero(episode.mask)
        assert recovered(batch, row, number) == (
            episode.token_ids.tolist(),
            places.tolist(),
            episode.token_ids[places].tolist(),
            episode.log_probs[places].tolist(),
        )
        grids = [view.patches.grids[0] for view in episode.views]
        alone, _ = dialogue_positions(episode.token_ids, grids, image_token_id=CONFIG.image_token_id, merge=2)
        np.testing.assert_array_equal(batch.positions[:, row, batch.segments[row] == number], alone)
        rated = batch.targets.advantages[row][
            batch.targets.mask[row] & (batch.targets.episodes[row] == number)
        ]
        assert set(rated.tolist()) == {[0.5, -1.0, 2.0][index]}
    assert batch.targets.mask.sum() == sum(int(episode.mask.sum()) for episode in episodes)


def test_collated_rows_are_the_packed_ones_of_one_episode_each(episodes, images):
    (batch,) = collate(episodes, images, CONFIG)
    assert batch.segments is None
    assert batch.tokens.shape == (3, 28)
    assert batch.targets.row_episodes == 1
    assert batch.targets.mask.sum(axis=1).tolist() == [4, 8, 6]
    for row, episode in enumerate(episodes):
        assert batch.tokens[row, : episode.num_tokens].tolist() == episode.token_ids.tolist()
        assert not batch.tokens[row, episode.num_tokens :].any()
    assert set(batch.targets.advantages[batch.targets.mask].tolist()) == {1.0}


def test_each_image_is_in_the_table_once_and_its_tokens_find_it(episodes, images):
    assert len(images) == 3  # the group's, the crop, and the other example's
    (batch,) = collate(episodes, images, CONFIG)
    tables = [batch.image_slots[row][batch.image_slots[row] >= 0].tolist() for row in range(3)]
    slots = [list(slots) for slots in images.layout.token_slots]
    assert tables == [slots[0], slots[0] + slots[1], slots[2]]
    patches = np.asarray(images.patch_batch(IMAGE_SETTINGS).patches)
    crop = np.asarray(episodes[1].views[1].patches.pixels)[:16]
    start = episodes[0].views[0].patches.count
    # Pixel 0 of the red channel of each patch of the crop, in its place among all patches.
    expected = (crop[:, 0] / 255 - IMAGE_SETTINGS.mean[0]) / IMAGE_SETTINGS.std[0]
    np.testing.assert_allclose(patches[start : start + 16, 0], expected, atol=1e-6)


def test_micro_batches_have_equal_shapes_and_hold_everything_once(episodes, images):
    batches = collate(episodes, images, CONFIG, count=2, row_multiple=2)
    assert [batch.tokens.shape for batch in batches] == [(2, 28), (2, 28)]
    assert [batch.targets.tokens.shape for batch in batches] == [(2, 8), (2, 8)]
    firsts = [batch.tokens[row, 0] for batch in batches for row in range(2)]
    assert firsts.count(0) == 1  # the empty row
    assert sum(int(batch.targets.mask.sum()) for batch in batches) == 18


def test_what_cannot_be_learned_from_is_refused(episodes, images):
    with pytest.raises(ValueError, match="a batch of no episodes"):
        collate([], images, CONFIG)
    with pytest.raises(ValueError, match="2 advantages for 3 episodes"):
        collate(episodes, images, CONFIG, advantages=[1.0, 2.0])
    with pytest.raises(ValueError, match="episode 1 has 28 tokens and a row 20"):
        pack(episodes, images, CONFIG, length=20)
    with pytest.raises(KeyError):
        collate(episodes, ImageTable(episodes[2:], CONFIG), CONFIG)


def test_episodes_without_log_probs_are_for_supervised_learning_only(episodes, images):
    opening, turn = episodes[0].segments
    silent = dataclasses.replace(episodes[0], segments=(opening, dataclasses.replace(turn, log_probs=())))
    (batch,) = collate([silent], images, CONFIG)
    assert batch.targets.mask.sum() == 4
    with pytest.raises(ValueError, match="episode 0 on 'kite' lacks log-probs of what was sampled"):
        collate([silent], images, CONFIG, advantages=[1.0])


def test_image_tokens_that_do_not_match_the_images_are_refused(episodes, images):
    opening, turn = episodes[0].segments
    short = dataclasses.replace(opening, token_ids=opening.token_ids[2:])
    broken = Episode(episodes[0].example, (short, turn), episodes[0].status)
    with pytest.raises(ValueError, match="episode 0 on 'kite': the tokens hold 5 image tokens"):
        collate([broken], images, CONFIG)
