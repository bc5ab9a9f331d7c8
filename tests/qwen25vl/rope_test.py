"""Rotary angles and M-RoPE position ids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.qwen25vl import rope

IMAGE = 99


def _tokens(*pieces):
    """Integers are that many text tokens, grids are images."""
    tokens = [[1] * p if isinstance(p, int) else [IMAGE] * (p[1] * p[2] // 4) for p in pieces]
    return np.array([token for piece in tokens for token in piece], np.int32)


def _positions(*pieces, start=0):
    grids = [p for p in pieces if not isinstance(p, int)]
    return rope.dialogue_positions(_tokens(*pieces), grids, image_token_id=IMAGE, merge=2, start=start)


def test_an_image_of_5_by_7_tokens_between_texts_counts_as_published():
    positions, following = _positions(4, (1, 10, 14), 5)
    image = positions[:, 4:39]
    assert positions[:, :4].tolist() == [[0, 1, 2, 3]] * 3
    assert set(image[0]) == {4}
    assert image[1].reshape(5, 7)[:, 0].tolist() == [4, 5, 6, 7, 8]
    assert image[2].reshape(5, 7)[0].tolist() == list(range(4, 11))
    assert positions[:, 39:].tolist() == [[11, 12, 13, 14, 15]] * 3
    assert following == 16


PIECES = st.lists(
    st.one_of(
        st.integers(1, 6),
        st.tuples(st.just(1), st.integers(1, 5).map(lambda n: 2 * n), st.integers(1, 5).map(lambda n: 2 * n)),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(PIECES, st.data())
def test_continuing_a_dialogue_gives_the_same_ids_as_computing_it_at_once(pieces, data):
    cut = data.draw(st.integers(0, len(pieces)))
    whole, end = _positions(*pieces)
    first, following = _positions(*pieces[:cut])
    second, last = _positions(*pieces[cut:], start=following)
    assert np.array_equal(whole, np.concatenate([first, second], axis=1))
    assert last == end


@pytest.mark.parametrize(
    ("tokens", "grids", "message"),
    [
        (_tokens(2, (1, 4, 4)), [], r"hold 4 image tokens but the 0 images need 0"),
        (_tokens(2), [(1, 4, 4)], r"hold 0 image tokens but the 1 images need 4"),
        (_tokens((1, 4, 2), 1, (1, 4, 2)), [(1, 4, 4)], r"each in one unbroken run"),
        (_tokens((1, 4, 4), 3)[:3], [(1, 4, 4)], r"hold 3 image tokens but the 1 images need 4 \(\[4\]\)"),
        (_tokens((1, 4, 4)), [(2, 4, 4)], r"2 frames: video is not supported"),
    ],
)
def test_image_tokens_that_do_not_match_the_grids_are_refused(tokens, grids, message):
    with pytest.raises(ValueError, match=message):
        rope.dialogue_positions(tokens, grids, image_token_id=IMAGE, merge=2)


def test_rotation_by_a_quarter_turn_swaps_the_halves_of_a_head():
    x = jnp.array([[[[1.0, 2.0, 3.0, 4.0]]]])
    turned = rope.rotate(x, rope.rotation(jnp.full((1, 1, 2), np.pi / 2)))
    np.testing.assert_allclose(turned[0, 0, 0], [-3.0, -4.0, 1.0, 2.0], atol=1e-6)


def test_angles_stay_exact_beyond_what_bfloat16_can_hold():
    positions = jnp.full((3, 1, 1), 1_001)
    angles = rope.text_angles(positions, head_dim=8, theta=1e6, sections=(1, 1, 2))
    np.testing.assert_allclose(angles[0, 0], 1_001 / 1e6 ** np.array([0, 0.25, 0.5, 0.75]), rtol=1e-6)
    x = jnp.zeros((1, 1, 1, 8), jnp.bfloat16).at[..., 0].set(1)
    turned = rope.rotate(x, rope.rotation(angles))
    assert turned.dtype == jnp.bfloat16
    assert float(turned[0, 0, 0, 0]) == float(jnp.bfloat16(np.cos(1_001)))


def test_sections_give_the_highest_frequencies_to_time_then_height_then_width():
    positions = jnp.array([[[2]], [[3]], [[5]]])
    angles = rope.text_angles(positions, head_dim=8, theta=16.0, sections=(1, 2, 1))
    np.testing.assert_allclose(angles[0, 0], [2 * 1, 3 / 2, 3 / 4, 5 / 8])


def test_vision_angles_turn_half_of_the_frequencies_with_the_row_and_half_with_the_column():
    angles = rope.vision_angles(jnp.array([[[3, 5]]]), head_dim=8)
    np.testing.assert_allclose(angles[0, 0], [3, 3 / 100, 5, 5 / 100], rtol=1e-6)


def test_rotary_scores_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))

    def score(query_at, key_at):
        turned = [
            rope.rotate(x, rope.rotation(rope.text_angles(jnp.full((3, 1, 1), p), 8, 100.0, (1, 1, 2))))
            for x, p in ((q, query_at), (k, key_at))
        ]
        return float(jnp.vdot(*turned))

    assert score(7, 4) == pytest.approx(score(107, 104), abs=1e-4)
    assert abs(score(7, 4) - score(7, 5)) > 1e-3


def test_jax_and_numpy_agree_on_the_cosine_of_large_angles():
    angles = np.linspace(0, 40_000, 4_001, dtype=np.float32)
    ours = jax.jit(jnp.cos)(angles)
    assert np.abs(np.asarray(ours) - np.cos(angles.astype(np.float64))).max() < 1e-6
