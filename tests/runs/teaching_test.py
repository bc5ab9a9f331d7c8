"""Episodes to be taught: stored dialogues, our own episodes, scripted chains, answers alone."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.datasets.layouts.episodes import parse_episode
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import prompts, turns
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.episode import Kind, Status
from vigorl_jax.reasoning.episode_files import load_episode, save_episode, to_json
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings
from vigorl_jax.rollout import plan
from vigorl_jax.runs.teaching import Teacher
from vigorl_jax.runs.tiny_world import dialogues, lexicon, model
from vigorl_jax.tasks import glyph_search
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_levels import LEVEL_1
from vigorl_jax.tasks.task import ZoomPreset
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

IMAGES = ImageSettings(min_pixels=56 * 56, max_pixels=448 * 448)
LIMITS = Limits(max_turns=5, max_zooms=4, max_turn_tokens=400, max_tokens=4000)
ZOOM = ZoomSettings(ZoomPreset(offset=20, side=56, dot=False))
SEARCH = plan("visual_search", limits=LIMITS, system="Look.", zoom_settings=ZOOM)
BEFORE, AFTER = prompts.observation()


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(byte_tokenizer())


def _png(width, height):
    stream = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _stored(*replies, system="Stored.", images=((168, 112), (56, 56))):
    """A released dialogue: the question with its image, then replies with an observation between any two."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "<image>What colour?"}]
    for number, reply in enumerate(replies):
        if number:
            messages.append({"role": "user", "content": f"{BEFORE}<image>{AFTER}"})
        messages.append({"role": "assistant", "content": reply})
    files = tuple(_png(*size) for size in images)
    metadata = {"messages": json.dumps(messages)}
    return Example("chain", "visual_search", "What colour?", "red", files, metadata=metadata)


LOOK = turns.write_zoom("A kite at (10, 90).", Zoom((10, 90)))
ANSWER = turns.write_answer("It is red at (12, 88).", "red")


def test_a_stored_dialogue_is_taught_turn_by_turn_with_its_own_crops(tokenizer):
    episode = Teacher({"visual_search": SEARCH}, tokenizer, IMAGES)(_stored(LOOK, ANSWER))
    taught = [
        tokenizer.decode(segment.token_ids) for segment in episode.segments if segment.kind is Kind.SAMPLED
    ]
    assert taught == [f"{LOOK}<|im_end|>", f"{ANSWER}<|im_end|>"]
    assert (episode.status, episode.answer) == (Status.ANSWERED, "red")
    assert episode.segments[0].text.startswith("<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\n")
    assert [view.num_tokens for view in episode.views] == [6 * 4, 2 * 2]
    # 20 pixels around (10, 90) in 168 x 112, less what lies outside.
    assert [zoom.window for zoom in episode.zooms] == [(0, 70, 30, 110)]


def test_a_dialogue_may_keep_its_system_message(tokenizer):
    teacher = Teacher({"visual_search": SEARCH}, tokenizer, IMAGES, keeps_system=True)
    assert "system\nStored.<|im_end|>" in teacher(_stored(LOOK, ANSWER)).segments[0].text


def test_points_can_be_removed_from_thoughts_but_not_from_answers(tokenizer):
    point = turns.write_answer("At (3, 4) and ( 5 , 6 ), a button.", "(7, 8)")
    example = _stored(point, images=((168, 112),))
    vanilla = plan("visual_search", Condition.VANILLA, limits=LIMITS, system="Think.")
    teacher = Teacher({"visual_search": vanilla}, tokenizer, IMAGES, keeps_points=False)
    assert teacher(example).turns[0].text == turns.write_answer("At and, a button.", "(7, 8)")


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (_stored(LOOK, ANSWER, images=((168, 112),)), "dialogue of 'chain' shows 2 images and has 1"),
        (_stored(LOOK), "dialogue of 'chain' shows 1 images and has 2"),
    ],
)
def test_a_dialogue_that_does_not_fit_its_images_is_refused(tokenizer, example, message):
    with pytest.raises(ValueError, match=message):
        Teacher({"visual_search": SEARCH}, tokenizer, IMAGES)(example)


def test_an_episode_beyond_the_limits_is_refused(tokenizer):
    short = plan("visual_search", limits=Limits(max_tokens=100), system="Look.", zoom_settings=ZOOM)
    with pytest.raises(ValueError, match=r"episode on 'chain' has .* tokens, more than max_tokens 100"):
        Teacher({"visual_search": short}, tokenizer, IMAGES)(_stored(LOOK, ANSWER))


def _as_record(episode):
    """The example that `prepare_data --dataset episodes` makes of an episode's JSON."""
    names = [f"{number}.png" for number in range(len(episode.views))]
    record = json.loads(json.dumps(to_json(episode, names)))

    class Place:
        file = "folder/episode.json"

        @staticmethod
        def image(name):
            return files[names.index(name)]

    files = [*episode.example.images, *(_png(view.frame.width, view.frame.height) for view in episode.crops)]
    draft = parse_episode(record, Place)
    return Example(
        draft.id, episode.example.task, draft.question, draft.answer, draft.images, metadata=draft.metadata
    )


def test_our_own_episodes_are_taught_with_the_ids_that_were_sampled(tokenizer):
    teacher = Teacher({"visual_search": SEARCH}, tokenizer, IMAGES)
    episode = dataclasses.replace(teacher(_stored(LOOK, ANSWER)), reward={"overall": 1.0}, number=3)
    again = teacher(_as_record(episode))
    assert again.token_ids.tolist() == episode.token_ids.tolist()
    assert again.mask.tolist() == episode.mask.tolist()
    assert [view.frame for view in again.views] == [view.frame for view in episode.views]
    assert (again.status, again.number, again.reward["overall"]) == (Status.ANSWERED, 3, 1.0)


def test_episodes_of_another_tokenizer_or_without_ids_are_refused(tokenizer):
    teacher = Teacher({"visual_search": SEARCH}, tokenizer, IMAGES)
    example = _as_record(teacher(_stored(LOOK, ANSWER)))
    segments = json.loads(example.metadata["segments"])
    for wrong in ([999_999], segments[1]["token_ids"][::-1]):
        segments[1] |= {"token_ids": wrong, "log_probs": []}
        changed = {**example.metadata, "segments": json.dumps(segments)}
        with pytest.raises(
            ValueError, match="episode on 'folder/chain' are of another tokenizer; roll it out"
        ):
            teacher(dataclasses.replace(example, metadata=changed))
    metadata = {key: value for key, value in example.metadata.items() if key != "frames"}
    with pytest.raises(
        ValueError, match=r"'folder/chain' is not an episode .KeyError: 'frames'.; save it anew"
    ):
        teacher(dataclasses.replace(example, metadata=metadata))


@pytest.mark.parametrize("condition", ["multiturn", "grounded", "vanilla", "base"])
def test_generated_scenes_are_taught_as_the_tiny_worlds_dialogues(condition):
    """Made from the whole picture by the zooms of roll outs; the tiny world makes the same without the picture."""
    text, images = model.tokenizer(), model.image_settings()
    held = plan(
        "glyph_search",
        condition,
        limits=dialogues.limits(Condition(condition)),
        system=lexicon.SYSTEMS[Condition(condition)],
        zoom_settings=ZoomSettings(glyph_search.ZOOM, Edges.SNAP),
    )
    teacher = Teacher({"glyph_search": held}, text, images)
    own = dialogues.Dialogues(LEVEL_1, 5, Condition(condition), [dialogues.scripted()], text, images)
    for index in range(6):
        episode, expected = teacher(glyph_search.example(LEVEL_1, 5, index)), own[index]
        assert episode.token_ids.tolist() == expected.token_ids.tolist()
        assert episode.mask.tolist() == expected.mask.tolist()
        for ours, theirs in zip(episode.views, expected.views, strict=True):
            count = len(theirs.patches.pixels)
            assert ours.frame == theirs.frame
            np.testing.assert_array_equal(np.asarray(ours.patches.pixels)[:count], theirs.patches.pixels)


def test_an_answer_alone_teaches_the_base_condition_only(tokenizer):
    example = Example(
        "plain", "spatial", "Left or right?", "left", (_png(168, 112),), choices=("left", "right")
    )
    base = plan("spatial", Condition.BASE, limits=LIMITS, system="Answer.")
    episode = Teacher({"spatial": base}, tokenizer, IMAGES)(example)
    assert [tokenizer.decode(turn.token_ids) for turn in episode.turns] == ["left<|im_end|>"]
    assert "Left or right?\nA. left\nB. right<|im_end|>" in episode.segments[0].text
    grounded = plan("spatial", Condition.GROUNDED, limits=LIMITS)
    with pytest.raises(
        ValueError, match=r"'plain' brings an answer and no dialogue, .* the condition is grounded"
    ):
        Teacher({"spatial": grounded}, tokenizer, IMAGES)(example)


def test_saved_episodes_come_back_from_their_files(tokenizer, tmp_path):
    episode = Teacher({"visual_search": SEARCH}, tokenizer, IMAGES)(_stored(LOOK, ANSWER))
    save_episode(episode, tmp_path, IMAGES)
    assert load_episode(tmp_path, IMAGES).token_ids.tolist() == episode.token_ids.tolist()
