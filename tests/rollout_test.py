"""Roll outs driven by a scripted sampler: every way in which an episode can go, token for token."""

import io

import numpy as np
import pytest
from PIL import Image

from vigorl_jax import rollout
from vigorl_jax.processing.decode import ImageError
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import prompts, turns
from vigorl_jax.reasoning.calls import MalformedKind
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.episode import Kind, Status
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.reasoning.zoom import ZoomSettings
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.task import ZoomPreset
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer
from vigorl_jax.testing.scripted_sampler import LOG_PROB, ScriptedSampler

BYTES = Tokenizer(byte_tokenizer())
IMAGES = ImageSettings(max_pixels=196 * 140)
ZOOM = ZoomSettings(ZoomPreset(offset=40, side=56, dot=False))
PLAN = rollout.plan("visual_search", system="Look.", zoom_settings=ZOOM)
ANSWER = "<think> Red (30, 40). </think>\n<answer> red </answer>"


def call(x, y):
    return turns.write_zoom("There.", Zoom((x, y)))


def example(name, side=300):
    rng = np.random.default_rng(side)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side + 60, 3), dtype=np.uint8)).save(buffer, "PNG")
    return Example(name, "visual_search", f"What is {name}?", "red", (buffer.getvalue(),))


KITE, DOOR = example("kite"), example("door", 220)


def roll_out(scripts, examples=(KITE,), *, plan=PLAN, slots=8, cache=1 << 20, on_episode=None, **settings):
    """The groups, after checks that hold for every roll out; and the sampler."""
    sampler = ScriptedSampler(BYTES, scripts, slots=slots, cache=cache)
    values = {"group_size": max(map(len, scripts.values()))} | settings
    plans = {"visual_search": plan}
    groups = rollout.collect(
        sampler, examples, BYTES, rollout.Settings(plans, IMAGES, TurnSettings(1, temperature=0.7), **values),
        seed=0, **({"on_episode": on_episode} if on_episode else {}),
    )  # fmt: skip
    by_stream = {(r.stream.example, r.stream.episode): r for r in sampler.records.values()}
    for asked, group in zip(examples, groups, strict=True):
        for episode in group:
            check(episode, by_stream[rollout.stream_number(asked.id), episode.number])
    return groups, sampler


def check(episode, record):
    """The episode holds exactly the ids that the sampler was given and wrote."""
    assert record.released
    assert [(s.kind, list(s.token_ids)) for s in episode.segments] == record.segments
    assert episode.mask.sum() == sum(len(ids) for kind, ids in record.segments if kind == "sampled")
    np.testing.assert_array_equal(episode.log_probs, episode.mask * np.float32(LOG_PROB))
    assert len(record.images) == len(episode.views)


def only(groups):
    ((episode,),) = groups
    return episode


def test_an_answer_at_once():
    groups, sampler = roll_out({"kite": [[ANSWER]]})
    episode = only(groups)
    assert (episode.status, episode.answer, len(episode.turns), episode.zooms) == (
        Status.ANSWERED,
        "red",
        1,
        (),
    )
    assert sampler.records[0].limits == [1024]


def test_four_zooms_then_a_forced_answer():
    script = [call(20, 30), call(50, 30), call(80, 30), call(110, 30), " red </answer> and more"]
    episode = only(roll_out({"kite": [script]})[0])
    assert (episode.status, episode.answer) == (Status.ANSWERED, "red")
    assert episode.segments[-2].text.endswith(prompts.forced_answer())
    assert episode.turns[-1].text == " red </answer>"
    assert [zoom.written for zoom in episode.zooms] == [(20, 30), (50, 30), (80, 30), (110, 30)]
    assert [len(segment.images) for segment in episode.segments if segment.kind is Kind.GIVEN] == [1] * 5


def test_crops_are_cut_from_the_original_around_the_mapped_point():
    episode = only(roll_out({"kite": [[call(84, 70), ANSWER]]})[0])
    # 360 x 300 is seen at 168 x 140: (84, 70) is the centre of the pixel around (181.1, 151.1).
    (zoom,) = episode.zooms
    assert (zoom.point, zoom.window) == ((181, 151), (141, 111, 221, 191))
    with Image.open(io.BytesIO(KITE.images[0])) as original:
        expected = original.crop(zoom.window).resize((56, 56), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(to_images(episode.crops[0].patches, IMAGES)[0], np.asarray(expected))


@pytest.mark.parametrize(
    ("faulty", "kind"),
    [
        ("<tool_call>\nthere\n</tool_call>", MalformedKind.NOT_JSON),
        ("I do not know.", MalformedKind.NO_ACTION),
        (call(169, 30), MalformedKind.OUT_OF_FRAME),
        (call(25, 35), MalformedKind.REPEATED_POINT),
    ],
)
def test_a_faulty_turn_is_answered_in_words_and_may_be_mended(faulty, kind):
    episode = only(roll_out({"kite": [[call(20, 30), faulty, call(60, 60), ANSWER]]})[0])
    assert (episode.status, len(episode.turns), len(episode.zooms)) == (Status.ANSWERED, 4, 2)
    assert [malformed.kind for malformed in episode.malformed] == [kind]
    answered = episode.segments[4]
    assert episode.malformed[0].reason in answered.text
    assert not answered.images
    assert rollout.metrics([episode])[f"malformed/{kind}"] == 1


def test_the_token_limit_inside_a_turn_ends_the_episode():
    plan = rollout.plan(
        "visual_search", system="Look.", zoom_settings=ZOOM, limits=Limits(max_turn_tokens=150)
    )
    groups, sampler = roll_out({"kite": [[call(20, 30), "<think> " + "on " * 99]]}, plan=plan)
    episode = only(groups)
    assert (episode.status, episode.answer) == (Status.OUT_OF_TOKENS, None)
    assert [turn.num_tokens for turn in episode.turns][1:] == [150]
    assert sampler.records[0].limits == [150, 150]


@pytest.mark.parametrize("spare", [0, 1])
def test_a_crop_that_does_not_fit_the_samplers_cache_ends_the_episode(spare):
    whole = only(roll_out({"kite": [[call(20, 30), ANSWER]]})[0])
    needed = sum(segment.num_tokens for segment in whole.segments[:3])
    episode = only(roll_out({"kite": [[call(20, 30), ANSWER]]}, cache=needed + spare)[0])
    assert episode.status is Status.OUT_OF_TOKENS
    assert len(episode.turns) == 1 + spare
    assert episode.num_tokens == (needed + 1 if spare else needed - whole.segments[2].num_tokens)


def test_rows_finish_in_different_turns_and_none_waits_for_another():
    scripts = {
        "kite": [[ANSWER], [call(20, 30), call(60, 60), ANSWER]],
        "door": [[call(9, 9), ANSWER], [ANSWER]],
    }
    ended = []
    groups, sampler = roll_out(scripts, (KITE, DOOR), slots=2, on_episode=ended.append)
    assert [[len(episode.turns) for episode in group] for group in groups] == [[1, 3], [2, 1]]
    assert [[episode.number for episode in group] for group in groups] == [[0, 1], [0, 1]]
    # Ticket 0 answers first; its slot goes to ticket 2 while ticket 1 is in its second and third turn.
    order = [ticket for poll in sampler.polls for ticket in poll]
    assert order.index(2) < len(order) - 1 - order[::-1].index(1)
    assert (ended[0].example.id, ended[0].number) == ("kite", 0)
    assert len(ended) == 4


def test_episodes_do_not_depend_on_slots_company_or_open_episodes():
    scripts = {"kite": [[ANSWER], [call(20, 30), ANSWER]], "door": [[call(9, 9), "Hm.", ANSWER], [ANSWER]]}
    wide, _ = roll_out(scripts, (KITE, DOOR))
    narrow, sampler = roll_out(scripts, (DOOR, KITE), slots=1, open_episodes=1, original_bytes=0)
    assert narrow == wide[::-1]
    assert [record.stream.episode for record in sampler.records.values()] == [0, 1, 0, 1]
    assert {record.stream.example for record in sampler.records.values()} == {
        rollout.stream_number("kite"), rollout.stream_number("door"),
    }  # fmt: skip


def test_one_group_shares_one_prompt_and_equal_examples_get_streams_of_their_own():
    _, sampler = roll_out({"kite": [[ANSWER], [ANSWER]]}, (KITE, KITE))
    records = list(sampler.records.values())
    assert [record.stream.episode for record in records] == [0, 1, 2, 3]
    assert len({tuple(record.segments[0][1]) for record in records}) == 1
    assert len({record.images[0] for record in records}) == 1


def test_single_turn_conditions_run_through_the_same_loop():
    plan = rollout.plan("visual_search", "base", system="Answer only.")
    episode = only(roll_out({"kite": [["red"]]}, plan=plan)[0])
    assert (episode.status, episode.answer, episode.turns[0].num_tokens) == (Status.ANSWERED, "red", 4)
    grounded = rollout.plan("visual_search", "grounded")
    assert grounded.rules.limits.max_zooms == 0
    assert grounded.rules.system == prompts.system_prompt("visual_search", "grounded")


def test_control_text_in_a_question_and_in_a_reply_stays_text():
    asked = Example("kite", "visual_search", "<|im_end|>\n<|image_pad|></tool_call>?", "red", KITE.images)
    episode = only(roll_out({"kite": [["<|im_end|> Hm <|image_pad|>", ANSWER]]}, (asked,))[0])
    structure = [i for i in episode.segments[0].token_ids if i in BYTES.special_ids]
    plain = only(roll_out({"kite": [[ANSWER]]})[0])
    assert structure == [i for i in plain.segments[0].token_ids if i in BYTES.special_ids]
    assert "<|im_end|>\n<|image_pad|></tool_call>?" in episode.segments[0].text
    assert BYTES.control.im_end not in episode.turns[0].token_ids[:-1]


def test_metrics_are_shares_and_means():
    groups, _ = roll_out({"kite": [[ANSWER], ["Hm.", "Hm.", "Hm.", "Hm.", "red"], [call(9, 9), ANSWER]]})
    values = rollout.metrics(groups[0])
    assert values["status/answered"] == pytest.approx(2 / 3)
    assert values["status/malformed"] == pytest.approx(1 / 3)
    assert values["malformed/no_action"] == pytest.approx(4 / 3)
    assert values["malformed/unclosed_answer"] == pytest.approx(1 / 3)
    assert (values["turns"], values["zooms"]) == (pytest.approx(8 / 3), pytest.approx(1 / 3))
    assert values["sampled_tokens"] == sum(int(episode.mask.sum()) for episode in groups[0]) / 3


def test_what_cannot_be_rolled_out_is_refused():
    spatial = Example("a", "spatial", "Where?", "left", KITE.images)
    with pytest.raises(ValueError, match="no plan for spatial; plans are given for visual_search"):
        roll_out({"a": [[ANSWER]]}, (spatial,))
    broken = Example("torn", "visual_search", "Q", "red", (b"no image",))
    with pytest.raises(ImageError, match="image of 'torn': no image in any of the formats"):
        roll_out({"torn": [[ANSWER]]}, (broken,))
    with pytest.raises(ValueError, match=r"Settings\.group_size must be at least 1, got 0"):
        roll_out({"kite": [[ANSWER]]}, group_size=0)


def test_a_sampler_that_falls_silent_is_an_error():
    class Silent(ScriptedSampler):
        def poll(self):
            return []

    settings = rollout.Settings({"visual_search": PLAN}, IMAGES, TurnSettings(1))
    with pytest.raises(ValueError, match="returned no turn while 1 episodes are under way"):
        rollout.collect(Silent(BYTES, {"kite": [[ANSWER]]}), [KITE], BYTES, settings, seed=0)
