"""Episodes as chat messages and back: the same ids, and control tokens of a text stay text."""

import dataclasses

import pytest

from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot, Message
from vigorl_jax.reasoning import prompts, turns
from vigorl_jax.reasoning.dialogue import Limits, Rules, open_dialogue
from vigorl_jax.reasoning.episode import Status
from vigorl_jax.reasoning.messages import from_messages, to_messages
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.tasks.example import Example

RULES = Rules("Look.", limits=Limits(max_zooms=1))
CALL = turns.write_zoom("There.", Zoom((60, 70)))
BEFORE, AFTER = prompts.observation()


@pytest.fixture
def views(blank_view):
    return [blank_view((0, 0, 420, 310), 168, 140), blank_view((100, 100, 180, 180), 56, 56)]


@pytest.fixture
def make_episode(example, tokenizer, views):
    def make(last, *, rules=RULES, question=example.question, ended=True):
        asked = Example("a", "spatial", question, "left", example.images)
        dialogue = open_dialogue(asked, views[:1], tokenizer, rules)
        dialogue.add_turn(tokenizer.encode_with_tool_tags(CALL))
        dialogue.observe(views[1])
        dialogue.add_turn(tokenizer.encode_with_tool_tags(last) + [tokenizer.control.im_end] * ended)
        return dialogue.finish()

    return make


@pytest.mark.parametrize("ended", [True, False])
def test_messages_are_the_conversation_with_slots_for_images(make_episode, tokenizer, ended):
    episode = make_episode(
        " red </answer>", question="Wo ist\nder Käfer? <|im_end|><|image_pad|>", ended=ended
    )
    assert to_messages(episode, tokenizer) == [
        Message("system", ("Look.",)),
        Message("user", (ImageSlot(30), "Wo ist\nder Käfer? <|im_end|><|image_pad|>")),
        Message("assistant", (CALL,)),
        Message("user", (BEFORE, ImageSlot(4), AFTER)),
        Message("assistant", (f"{prompts.forced_answer()} red </answer>",)),
    ]


def test_control_ids_that_a_model_sampled_are_its_text(make_episode, tokenizer):
    episode = make_episode(" red </answer>")
    control = tokenizer.control
    wild = (control.im_start, control.vision_start, control.im_end, *tokenizer.encode_plain("A"))
    last = dataclasses.replace(episode.segments[-1], token_ids=wild)
    messages = to_messages(dataclasses.replace(episode, segments=(*episode.segments[:-1], last)), tokenizer)
    assert messages[-1].parts[0].endswith("<answer><|im_start|><|vision_start|><|im_end|>A")


def test_an_episode_made_from_its_own_messages_has_the_same_ids(make_episode, tokenizer, views):
    rules = Rules("Look.", forces_answer=False)
    episode = make_episode("<think> Seen. </think>\n<answer> red </answer>", rules=rules)
    again = from_messages(episode.example, to_messages(episode, tokenizer), views, tokenizer, rules)
    # A turn of supervised training is taught to end by itself, where sampling was stopped at </tool_call>.
    assert again.token_ids.tolist() == episode.token_ids.tolist()
    assert again.mask.sum() == episode.mask.sum() + 1
    assert [segment.text for segment in again.turns] == [segment.text for segment in episode.turns]
    assert [segment.action for segment in again.turns] == [segment.action for segment in episode.turns]
    assert (again.status, again.answer, again.zooms) == (Status.ANSWERED, "red", episode.zooms)
    assert not again.log_probs.any()


def test_the_default_system_message_stands_where_the_messages_bring_none(example, tokenizer, views):
    messages = [Message("user", (ImageSlot(30), "Q")), Message("assistant", ("red",))]
    rules = Rules("", Condition.BASE, limits=Limits(max_zooms=0))
    episode = from_messages(example, messages, views[:1], tokenizer, rules)
    assert episode.token_ids.tolist() == chat.encode_conversation(tokenizer, messages)[:-1]
    assert (episode.status, episode.answer) == (Status.ANSWERED, "red")


@pytest.mark.parametrize(("text", "status"), [(CALL, Status.OUT_OF_TURNS), ("Hm.", Status.MALFORMED)])
def test_a_conversation_without_an_answer_says_how_it_ended(example, tokenizer, views, text, status):
    messages = [Message("user", (ImageSlot(30), "Q")), Message("assistant", (text,))]
    assert from_messages(example, messages, views[:1], tokenizer, RULES).status is status


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "'kite/7' must end with an assistant's message"),
        ([Message("user", (ImageSlot(30), "Q"))], "'kite/7' must end with an assistant's message"),
        (
            [Message("user", ("Q",)), Message("assistant", ("red",))],
            "shows no image before the assistant's first",
        ),
        (
            [Message("user", (ImageSlot(7), "Q")), Message("assistant", ("red",))],
            r"image slots of \[7\] tokens and images of \[30\]; give one view for each slot",
        ),
    ],
)
def test_conversations_that_cannot_be_taught_are_refused(example, tokenizer, views, messages, message):
    with pytest.raises(ValueError, match=message):
        from_messages(example, messages, views[:1], tokenizer, RULES)
