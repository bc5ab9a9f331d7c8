"""The episode record refuses what cannot be, and its parts agree."""

import pytest

from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.turns import Answer


@pytest.fixture
def opening(blank_view):
    return Segment(Kind.GIVEN, (1, 2, 3), "abc", (blank_view((0, 0, 84, 56), 84, 56),))


def test_arrays_are_the_segments_side_by_side(example, opening):
    turn = Segment(Kind.SAMPLED, (4, 5), "de", log_probs=(-0.25, -2.0), action=Answer("e"))
    episode = Episode(example, (opening, turn), Status.ANSWERED)
    assert episode.token_ids.tolist() == [1, 2, 3, 4, 5]
    assert episode.mask.tolist() == [0, 0, 0, 1, 1]
    assert episode.log_probs.tolist() == [0, 0, 0, -0.25, -2.0]
    assert (episode.num_tokens, episode.answer, episode.zooms, episode.points) == (5, "e", (), ())
    assert (episode.original.width, episode.original.height) == (84, 56)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": Kind.SAMPLED}, "a sampled segment has an action and no images"),
        ({"kind": Kind.GIVEN, "action": Answer("a")}, "a given segment has neither log-probs nor an action"),
        (
            {"kind": Kind.GIVEN, "log_probs": (0.0, 0.0)},
            "a given segment has neither log-probs nor an action",
        ),
        (
            {"kind": Kind.SAMPLED, "action": Answer("a"), "log_probs": (0.0,)},
            "1 log-probs for 2 tokens; give one for each or none",
        ),
    ],
)
def test_segments_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Segment(token_ids=(1, 2), text="", **values)


def test_an_episode_without_an_image_is_refused(example):
    for segments in [(), (Segment(Kind.GIVEN, (1,), "a"),)]:
        with pytest.raises(ValueError, match="opens with a given segment that holds the image"):
            Episode(example, segments, Status.ANSWERED)
