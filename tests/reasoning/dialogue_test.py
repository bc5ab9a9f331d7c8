"""The rules of an episode: when it ends and how, what follows each turn, and that no id is lost or made up."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot
from vigorl_jax.reasoning import calls, prompts, turns
from vigorl_jax.reasoning.calls import MalformedKind
from vigorl_jax.reasoning.dialogue import Limits, PromptTooLong, Rules, open_dialogue
from vigorl_jax.reasoning.episode import Kind, Status
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Malformed, Zoom
from vigorl_jax.tasks.example import Example

RULES = Rules(system="Look closely.")
ANSWER = "<think> It is red (30, 40). </think>\n<answer> red </answer>"


def call(x, y):
    return turns.write_zoom("There.", Zoom((x, y)))


@pytest.fixture
def opened(example, tokenizer, blank_view):
    """Opens a dialogue on an image of 420 x 310 seen at 168 x 140, which is 30 tokens."""

    def open_one(rules=RULES, example=example):
        return open_dialogue(example, [blank_view((0, 0, 420, 310), 168, 140)], tokenizer, rules)

    return open_one


@pytest.fixture
def say(tokenizer):
    """Hands a text to a dialogue as its next turn, ended by <|im_end|> unless it was cut off."""

    def say_one(dialogue, text, cut_off=False):
        ids = tokenizer.encode_with_tool_tags(text) + ([] if cut_off else [tokenizer.control.im_end])
        return dialogue.add_turn(ids, [-0.5] * len(ids), cut_off=cut_off)

    return say_one


@pytest.fixture
def zoom_in(say, blank_view):
    """A zoom turn and its crop of 56 x 56, which is 4 tokens."""

    def zoom_once(dialogue, x, y):
        assert say(dialogue, call(x, y)) == Zoom((x, y))
        return dialogue.observe(blank_view((x, y, x + 20, y + 20), 56, 56))

    return zoom_once


def test_the_opening_is_the_conversation_up_to_where_the_assistant_begins(opened, tokenizer):
    (opening,) = opened().segments
    parts = (ImageSlot(30), "What colour is the kite?")
    assert list(opening.token_ids) == chat.open_conversation(tokenizer, parts, system="Look closely.")
    vision = "<|vision_start|><|image_pad|><|vision_end|>"
    assert f"user\n{vision}What colour is the kite?<|im_end|>" in opening.text


def test_an_answer_at_once_ends_the_episode(opened, say):
    dialogue = opened()
    assert say(dialogue, ANSWER) is None
    episode = dialogue.finish(number=3)
    assert (episode.status, episode.answer, episode.number) == (Status.ANSWERED, "red", 3)
    assert [segment.kind for segment in episode.segments] == [Kind.GIVEN, Kind.SAMPLED]
    assert episode.turns[0].text == ANSWER


def test_a_zoom_is_followed_by_its_crop_and_the_next_turn(opened, zoom_in, tokenizer):
    dialogue = opened()
    segment = zoom_in(dialogue, 60, 70)
    before, after = prompts.observation()
    sampled = dialogue.segments[1].token_ids
    expected = chat.next_user_turn(tokenizer, sampled, (before, ImageSlot(4), after))
    assert list(segment.token_ids) == expected
    assert [view.num_tokens for view in segment.images] == [4]
    assert dialogue.status is None


def test_four_zooms_lead_to_a_forced_answer_that_is_given_up_to_its_tag(opened, zoom_in, say):
    dialogue = opened()
    given_segments = [zoom_in(dialogue, x, 70) for x in (20, 50, 80, 110)]
    forced = [segment.text.endswith(prompts.forced_answer()) for segment in given_segments]
    assert forced == [False, False, False, True]
    assert say(dialogue, " red </answer>") is None
    episode = dialogue.finish()
    assert (episode.status, episode.answer) == (Status.ANSWERED, "red")
    assert len(episode.turns) == 5
    assert [zoom.turn for zoom in episode.zooms] == [0, 1, 2, 3]
    assert episode.turns[-1].text == " red </answer>"  # The prefill is given: it is never trained on (B14).


def test_without_forced_answers_a_zoom_too_many_ends_out_of_turns(opened, zoom_in, say):
    dialogue = opened(Rules("Look.", limits=Limits(max_turns=9), forces_answer=False))
    for x in (20, 50, 80, 110):
        assert not zoom_in(dialogue, x, 70).text.endswith("<answer>")
    assert say(dialogue, call(10, 10)) is None
    assert dialogue.status is Status.OUT_OF_TURNS
    assert len(dialogue.finish().zooms) == 4


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I see a kite.", MalformedKind.NO_ACTION),
        ("<tool_call>\n{}\n</tool_call>", MalformedKind.WRONG_KEYS),
        (call(168, 20), MalformedKind.OUT_OF_FRAME),
        (call(64, 72), MalformedKind.REPEATED_POINT),
    ],
)
def test_a_turn_that_cannot_be_carried_out_is_told_so_counts_and_may_be_mended(
    opened, zoom_in, say, text, kind
):
    dialogue = opened()
    zoom_in(dialogue, 60, 70)
    malformed = say(dialogue, text)
    assert malformed.kind is kind
    segment = dialogue.observe(malformed)
    assert malformed.reason in segment.text
    assert not segment.images
    assert say(dialogue, ANSWER) is None
    episode = dialogue.finish()
    assert episode.status is Status.ANSWERED
    assert [turn.kind for turn in episode.malformed] == [kind]
    assert (len(episode.turns), len(episode.zooms)) == (3, 1)


def test_malformed_turns_use_up_the_turns_and_the_last_one_is_forced(opened, say):
    dialogue = opened()
    for _ in range(4):
        segment = dialogue.observe(say(dialogue, "Hm."))
    assert segment.text.endswith("<answer>")
    assert say(dialogue, " red") is None
    assert dialogue.status is Status.MALFORMED
    assert dialogue.finish().answer is None


def test_the_last_malformed_turn_ends_the_episode_where_no_answer_is_forced(opened, say):
    dialogue = opened(Rules("Look.", limits=Limits(max_turns=2), forces_answer=False))
    dialogue.observe(say(dialogue, "Hm."))
    assert say(dialogue, "Hm.") is None
    assert dialogue.status is Status.MALFORMED


@pytest.mark.parametrize("most", [0, 1])
def test_one_malformed_turn_more_than_may_be_ends_the_episode(opened, say, zoom_in, most):
    dialogue = opened(Rules("Look.", limits=Limits(max_malformed=most)))
    zoom_in(dialogue, 30, 40)
    for _ in range(most):
        dialogue.observe(say(dialogue, "Hm."))
    assert say(dialogue, "Hm.") is None
    assert dialogue.status is Status.MALFORMED


@pytest.mark.parametrize(
    ("text", "status"),
    [(ANSWER, Status.ANSWERED), ("Hm.", Status.MALFORMED), (call(5, 5), Status.OUT_OF_TURNS)],
)
def test_an_episode_without_zooms_is_one_turn(opened, say, text, status):
    dialogue = opened(Rules("Look.", Condition.GROUNDED, limits=Limits(max_zooms=0)))
    assert say(dialogue, text) is None
    assert dialogue.status is status


def test_a_bare_reply_is_an_answer_unless_it_was_cut_off(opened, say):
    rules = Rules("Answer.", Condition.BASE, limits=Limits(max_zooms=0))
    complete, cut_off = opened(rules), opened(rules)
    say(complete, "red")
    say(cut_off, "red and bl", cut_off=True)
    assert (complete.status, complete.finish().answer) == (Status.ANSWERED, "red")
    assert cut_off.status is Status.OUT_OF_TOKENS


def test_a_turn_cut_off_ends_the_episode_unless_it_was_complete(opened, say):
    dialogue = opened()
    assert say(dialogue, "<think> It goes on and", cut_off=True) is None
    assert dialogue.status is Status.OUT_OF_TOKENS
    complete = opened()
    say(complete, ANSWER, cut_off=True)
    assert complete.status is Status.ANSWERED


def test_lengths_are_counted_to_the_token(opened, zoom_in, say, blank_view):
    measured = opened()
    opening = measured.segments[0].num_tokens
    zoom_in(measured, 60, 70)
    turn, observed = (segment.num_tokens for segment in measured.segments[1:])
    whole = opening + turn + observed
    fits = opened(Rules(RULES.system, limits=Limits(max_tokens=whole + 1)))
    assert fits.room == min(1024, turn + observed + 1)
    zoom_in(fits, 60, 70)
    assert fits.room == 1
    tight = opened(Rules(RULES.system, limits=Limits(max_tokens=whole)))
    say(tight, call(60, 70))
    assert tight.observe(blank_view((60, 70, 80, 90), 56, 56)) is None
    episode = tight.finish()
    assert (episode.status, episode.num_tokens) == (Status.OUT_OF_TOKENS, opening + turn)
    assert episode.zooms == ()
    assert opened(Rules(RULES.system, limits=Limits(max_turn_tokens=7))).room == 7


def test_a_prompt_that_leaves_no_room_is_refused_with_its_numbers(opened):
    with pytest.raises(PromptTooLong, match=r"'kite/7' opens with \d+ tokens, and an episode may have 50"):
        opened(Rules("Look.", limits=Limits(max_tokens=50)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_turns", 0),
        ("max_zooms", -1),
        ("max_turn_tokens", 1.5),
        ("max_tokens", True),
        ("max_malformed", -1),
    ],
)
def test_limits_without_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Limits.{name} must be a whole number of at least"):
        Limits(**{name: value})


def test_turns_out_of_order_are_refused(opened, say):
    dialogue = opened()
    with pytest.raises(ValueError, match="'kite/7' has not ended; sample its next turn first"):
        dialogue.finish()
    say(dialogue, "Hm.")
    with pytest.raises(ValueError, match="awaits no turn; observe the last one or finish"):
        say(dialogue, "Hm.")


def test_a_zoom_into_a_crop_is_read_in_the_crops_pixels(opened, zoom_in, tokenizer, blank_view):
    form = calls.POINT_IN_ANY_IMAGE_CALL
    dialogue = opened(Rules("Look.", form=form))
    first = turns.write_zoom("There.", Zoom((60, 70)), form)
    dialogue.add_turn(tokenizer.encode_with_tool_tags(first))
    dialogue.observe(blank_view((100, 100, 156, 156), 56, 56))
    second = turns.write_zoom("Closer.", Zoom((55, 0), image=1), form)
    assert dialogue.add_turn(tokenizer.encode_with_tool_tags(second)) == Zoom((55, 0), image=1)
    dialogue.observe(blank_view((140, 100, 156, 110), 56, 56))
    dialogue.add_turn(tokenizer.encode_with_tool_tags(ANSWER))
    zooms = dialogue.finish().zooms
    # Pixel (60, 70) of 168 x 140 is (151, 156) of 420 x 310; pixel (55, 0) of the crop is (155, 100).
    assert [(zoom.point, zoom.written, zoom.image) for zoom in zooms] == [
        ((151, 156), (60, 70), 0),
        ((155, 100), (55, 0), 1),
    ]


def test_thoughts_and_answers_mark_points_in_original_pixels(opened, say):
    dialogue = opened()
    dialogue.observe(say(dialogue, "<think> (168, 0), [84, 70] and (1.9, 2) </think>" + call(9, 500)))
    say(dialogue, ANSWER)
    marks = dialogue.finish().points
    assert [(mark.turn, mark.written, mark.point) for mark in marks] == [
        (0, (84, 70), (211, 156)),
        (0, (1, 2), (3, 5)),
        (1, (30, 40), (76, 89)),
    ]


PIECES = [
    *("<|im_end|>", "<|im_start|>user\n", "<|image_pad|>", "<|vision_start|>", "</tool_call>", "<tool_call>"),
    *("</answer>", "<answer> a", "<observation>", "<think>", "</think>", call(60, 70), call(5, 5), ANSWER),
    *("é", "\n", "(1, 2)", " a"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
SAMPLED_IDS = st.lists(st.integers(0, 255) | st.sampled_from([256, 258, 271, 272]), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.text(min_size=1, max_size=9).filter(lambda text: text.strip() and text.isprintable()) | TEXTS,
    turn_ids=st.lists(SAMPLED_IDS | TEXTS, min_size=6, max_size=6),
    cut_off=st.booleans(),
)
def test_ids_are_exactly_those_given_and_sampled_and_the_mask_is_one_on_the_sampled(
    opened, tokenizer, example, blank_view, question, turn_ids, cut_off
):
    asked = Example("a", "spatial", f"Q {question}", "left", example.images)
    dialogue = opened(example=asked)
    opening = dialogue.segments[0].token_ids
    control = [i for i in opening if i in tokenizer.special_ids]
    # The question brings no control token: those of the opening are the template's and the image's.
    plain = opened(example=Example("a", "spatial", "Q", "left", example.images)).segments[0].token_ids
    assert control == [i for i in plain if i in tokenizer.special_ids]
    handed, flags = list(opening), [0] * len(opening)
    for item in turn_ids:
        ids = tokenizer.encode_with_tool_tags(item) if isinstance(item, str) else item
        action = dialogue.add_turn(ids, [-1.0] * len(ids), cut_off=cut_off)
        handed += ids
        flags += [1] * len(ids)
        if dialogue.status is not None:
            break
        answer = action if isinstance(action, Malformed) else blank_view((0, 0, 9, 9), 28, 28)
        segment = dialogue.observe(answer)
        handed += segment.token_ids
        flags += [0] * segment.num_tokens
    episode = dialogue.finish()
    assert episode.token_ids.tolist() == handed
    assert episode.mask.tolist() == flags
    assert episode.log_probs.tolist() == [-float(flag) for flag in flags]
    assert episode.num_tokens == len(handed)
    pad = tokenizer.control.image_pad
    given_pads = sum(i == pad and not flag for i, flag in zip(handed, flags, strict=True))
    assert given_pads == sum(view.num_tokens for view in episode.views)
