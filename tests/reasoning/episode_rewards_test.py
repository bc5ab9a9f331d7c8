"""Rewards of episodes: the text that the official code would score, in the pixels that the model saw."""

import pytest

from vigorl_jax.reasoning import episode_rewards, turns
from vigorl_jax.reasoning.dialogue import Rules, open_dialogue
from vigorl_jax.reasoning.dialogue_grammar import accepts, tag_sequence
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.tasks.example import Example

CALL = turns.write_zoom("There.", Zoom((60, 70)))


@pytest.fixture
def make_episode(tokenizer, blank_view):
    """A zoom and an answer on an image of 420 x 310 seen at 168 x 140."""

    def make(answer, example):
        dialogue = open_dialogue(example, [blank_view((0, 0, 420, 310), 168, 140)], tokenizer, Rules("Look."))
        dialogue.add_turn(tokenizer.encode_with_tool_tags(CALL))
        dialogue.observe(blank_view((100, 100, 180, 180), 56, 56))
        ids = tokenizer.encode_with_tool_tags(turns.write_answer("Seen.", answer))
        dialogue.add_turn([*ids, tokenizer.control.im_end])
        return dialogue.finish()

    return make


def test_the_transcript_is_a_dialogue_of_the_grammar_without_special_tokens(make_episode, example, tokenizer):
    text = episode_rewards.transcript(make_episode("red", example), tokenizer)
    assert text.startswith("<think> There. </think>\n<tool_call>")
    assert text.endswith("<answer> red </answer>")
    assert "</tool_call>\nuser\n<observation>\n" in text
    assert "</observation>\nassistant\n<think> Seen." in text
    assert "<|" not in text
    assert accepts(tag_sequence(text))


def test_an_episode_is_scored_by_its_transcript(make_episode, example, tokenizer):
    right = episode_rewards.score(make_episode("red", example), tokenizer, reward="text_multiturn")
    assert right.reward["overall"] == pytest.approx(1.0)
    assert right.reward["zooms"] == 1
    wrong = episode_rewards.score(
        make_episode("blue", example), tokenizer, reward="text_multiturn", preset="gated"
    )
    assert wrong.reward["overall"] == pytest.approx(0.4)


@pytest.mark.parametrize("boxes_only", [True, False])
def test_the_reference_box_is_scaled_with_the_image(make_episode, example, tokenizer, boxes_only):
    # (210, 155, 260, 200) of 420 x 310 is (84, 70, 104, 90.3) of 168 x 140.
    answer = "the kite" if boxes_only else "(210, 155, 260, 200)"
    boxes = ((210, 155, 260, 200),) if boxes_only else ()
    asked = Example("a", "web_grounding", "Description: kite", answer, example.images, boxes=boxes)
    for point, accuracy in [((84, 70), 1.0), ((104, 90), 1.0), ((105, 90), 0.0), ((210, 155), 0.0)]:
        episode = make_episode(str(point), asked)
        assert episode_rewards.reference(episode) == "(84, 70, 104, 90)"
        scored = episode_rewards.score(episode, tokenizer, reward="point_multiturn")
        assert scored.reward["accuracy"] == accuracy


def test_options_and_the_image_size_reach_the_gated_rewards(make_episode, example, tokenizer):
    asked = Example("a", "spatial", "Where?", "left", example.images, choices=("left", "right"))
    episode = make_episode("A", asked)
    assert (
        episode_rewards.score(episode, tokenizer, reward="text_multiturn", preset="gated").reward["accuracy"]
        == 1
    )
    assert episode_rewards.context(episode).frame_size == (168, 140)
    assert episode_rewards.context(episode).crop_size == (56, 56)


def test_a_users_reward_is_called_with_transcript_and_reference(make_episode, example, tokenizer, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def compute_score(predict_str, ground_truth):\n"
        "    value = float(ground_truth in predict_str)\n"
        "    return {'overall': value, 'format': 0.0, 'accuracy': value}\n"
    )
    scored = episode_rewards.score(make_episode("red", example), tokenizer, reward=f"{file}:compute_score")
    assert dict(scored.reward) == {"overall": 1.0, "format": 0.0, "accuracy": 1.0}


def test_a_reference_that_is_no_box_stays_as_it_is(make_episode, example):
    asked = Example("a", "web_grounding", "Description: kite", "the kite", example.images)
    assert episode_rewards.reference(make_episode("(1, 2)", asked)) == "the kite"
