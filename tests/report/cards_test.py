"""Cards: numbers, places in percent and pieces of text, as worked by hand."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning import turns
from vigorl_jax.report.cards import Area, Piece, make_card

SETTINGS = ImageSettings(max_pixels=196 * 140)


@pytest.fixture
def cards(episodes):
    store = {}
    return [make_card(episode, SETTINGS, store) for episode in episodes], store


def test_points_are_numbered_through_the_episode_and_lie_at_their_pixels(cards):
    (card, *_), _ = cards
    first, second, third = card.pictures[0].spots
    # (84, 70) of 168 x 140 is pixel (211, 156) of 420 x 310.
    assert (first.number, first.colour, first.beside) == (1, 0, 0)
    assert (first.x, first.y) == pytest.approx((100 * 211.5 / 420, 100 * 156.5 / 310))
    assert (second.number, second.colour) == (2, 0)
    # (85, 71) lies next to the first point and is drawn beside it.
    assert (third.number, third.colour, third.beside) == (3, 1, 1)
    assert card.turns[0].thought == (
        Piece("A kite at "), Piece("(84, 70)", 1), Piece(", a tree at "), Piece("(10, 20)", 2), Piece("."),
    )  # fmt: skip
    assert card.turns[1].thought == (Piece("Seen at "), Piece("(85, 71)", 3), Piece("."))
    assert card.turns[1].answer == (Piece("red"),)


def test_a_zoom_is_a_window_on_the_image_and_a_crop_beside_its_turn(cards):
    (card, *_), store = cards
    (area,) = card.pictures[0].areas
    assert area == Area(
        "zoom 1", 0, *(pytest.approx(v) for v in (100 * 171 / 420, 100 * 116 / 310, 8000 / 420, 8000 / 310))
    )
    crop = card.turns[0].crop
    assert crop.caption == "zoom 1 at (84, 70): 80 \u00d7 80 pixels of the original, 4 tokens"
    (spot,) = crop.spots
    # 40.5 of 80 pixels is pixel 28 of 56.
    assert (spot.x, spot.y) == pytest.approx((100 * 28.5 / 56, 100 * 28.5 / 56))
    assert card.turns[1].crop is None
    uri = store[crop.key]
    image = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (56, 56)


def test_one_image_of_several_episodes_is_kept_once(cards):
    made, store = cards
    assert len({card.pictures[0].key for card in made}) == 1
    assert len(store) == 2  # The same window was cut in two episodes.


def test_verdicts_follow_the_reward(cards, make_episode):
    made, _ = cards
    assert [card.verdict for card in made] == ["right", "wrong", "wrong", "failed"]
    assert [card.overall for card in made] == [1.0, 0.25, 0.5, None]
    unscored = make_card(make_episode([turns.write_answer("a", "red")]), SETTINGS, {})
    assert unscored.verdict == "answered"


def test_faults_say_why_and_text_without_thoughts_is_shown_whole(cards):
    made, _ = cards
    assert made[1].turns[1].fault.startswith("This place was looked at before")
    assert made[1].num_zooms == 1
    assert made[3].status == "out of tokens"
    assert made[3].turns[0].thought == (Piece("It goes on"),)


def test_token_shares_add_up(cards, episodes):
    made, _ = cards
    for card, episode in zip(made, episodes, strict=True):
        assert sum(share.percent for share in card.shares) == pytest.approx(100)
        coloured = sum(share.percent for share in card.shares if share.colour is not None)
        assert coloured == pytest.approx(100 * episode.mask.mean())
        assert card.num_sampled == episode.mask.sum()


def test_references_are_drawn_and_written_in_the_models_pixels(make_episode):
    box = (210.0, 155.0, 252.0, 186.0)
    values = {"task": "web_grounding", "question": "Description: kite"}
    given = make_episode([turns.write_answer("a", "(84, 70)")], **values, answer="the kite", boxes=(box,))
    written = make_episode([turns.write_answer("a", "(84, 70)")], **values, answer="(210, 155, 252, 186)")
    for episode in (given, written):
        card = make_card(episode, SETTINGS, {})
        assert card.pictures[0].areas == (
            Area("reference", None, 50.0, 50.0, pytest.approx(10), pytest.approx(10)),
        )
        assert card.reference == "(84, 70, 100, 84)"


def test_large_originals_are_reduced_for_the_page(make_episode, photograph):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1000, 2000, 3), np.uint8)).save(buffer, "PNG")
    episode = make_episode([turns.write_answer("a", "red")])
    object.__setattr__(episode.example, "images", (buffer.getvalue(),))
    store = {}
    (picture,) = make_card(episode, SETTINGS, store).pictures
    assert (picture.width, picture.height, picture.caption) == (1280, 640, "2000 \u00d7 1000 pixels")
