"""Groups of episodes as bytes: equal bit for bit when read back, shared images shared again."""

import numpy as np
import pytest

from vigorl_jax.processing.frames import Frame
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.turns import Answer, Malformed, MalformedKind, Zoom
from vigorl_jax.reasoning.zoom import make_view
from vigorl_jax.runs import episode_bytes
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing.models import tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, random_image
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_table import ImageTable

CONFIG = tiny_config()


def _view(rng, grid, window=None):
    frame = (
        Frame(window, 14 * grid[2], 14 * grid[1]) if window else Frame.original(14 * grid[2], 14 * grid[1])
    )
    return make_view(frame, random_image(rng, grid).patches, IMAGE_SETTINGS)


def _given(view, text):
    ids = [
        CONFIG.vision_start_token_id,
        *[CONFIG.image_token_id] * view.num_tokens,
        CONFIG.vision_end_token_id,
        65,
    ]
    return Segment(Kind.GIVEN, tuple(ids), text, (view,))


def _sampled(rng, action):
    ids = rng.integers(0, 200, 5).tolist()
    # Log-probs as samplers report them: float32 values that no short decimal spells.
    log_probs = tuple(float(x) for x in np.float32(-3 * rng.random(5)))
    return Segment(Kind.SAMPLED, tuple(ids), "", log_probs=log_probs, action=action)


def _flat(groups):
    return [episode for group in groups for episode in group]


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    shared = _view(rng, (1, 4, 6))
    example = Example("kite/ü", "visual_search", "What?", "red", (b"png", b"more"), metadata={"level": 3})
    crop = _view(rng, (1, 4, 4), window=(3, 4, 59, 60))
    actions = [Zoom((10, 12)), Answer("red"), Malformed("no tag", MalformedKind.NO_ACTION)]
    zooming = Episode(
        example,
        (
            _given(shared, "What?"),
            _sampled(rng, actions[0]),
            _given(crop, "Look."),
            _sampled(rng, actions[1]),
        ),
        Status.ANSWERED,
        0,
        {"overall": 0.1 + 0.2, "format": 1.2},
    )
    failing = Episode(example, (_given(shared, "What?"), _sampled(rng, actions[2])), Status.MALFORMED, 1)
    alone = Episode(
        Example("other", "spatial", "Where?", "left", (b"jpg",)),
        (_given(_view(rng, (1, 2, 2)), "Where?"), _sampled(rng, Answer("left"))),
        Status.ANSWERED,
    )
    return [[zooming, failing], [alone]]


def test_groups_come_back_equal_bit_for_bit(groups):
    back = episode_bytes.from_bytes(episode_bytes.to_bytes(groups), IMAGE_SETTINGS)
    assert back == groups
    for ours, theirs in zip(_flat(back), _flat(groups), strict=True):
        np.testing.assert_array_equal(ours.log_probs, theirs.log_probs)
        assert ours.example.images == theirs.example.images
        assert dict(ours.reward) == dict(theirs.reward)
        for view, other in zip(ours.views, theirs.views, strict=True):
            np.testing.assert_array_equal(view.patches.pixels, other.patches.pixels)
            assert view.patches.grids == other.patches.grids


def test_shared_images_are_stored_once_and_shared_again(groups):
    data = episode_bytes.to_bytes(groups)
    back = episode_bytes.from_bytes(data, IMAGE_SETTINGS)
    assert back[0][0].views[0] is back[0][1].views[0]
    table = ImageTable(_flat(back), CONFIG)
    assert len(table) == 3
    ours, theirs = (
        collate(_flat(some), ImageTable(_flat(some), CONFIG), CONFIG)[0] for some in (back, groups)
    )
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    np.testing.assert_array_equal(ours.image_slots, theirs.image_slots)
    assert len(episode_bytes.to_bytes([groups[0] * 4])) < 2 * len(data)


def test_gathering_in_a_single_process_changes_nothing(groups):
    assert episode_bytes.gather(groups, IMAGE_SETTINGS) == groups
