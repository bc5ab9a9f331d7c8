"""The sample binary, from a photograph to the trace, as a user runs it."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sample
from experiments.presets import catalog
from vigorl_jax.processing import chat
from vigorl_jax.reasoning.episode import Kind, Status
from vigorl_jax.reasoning.episode_files import load_episode
from vigorl_jax.runs import fields
from vigorl_jax.runs.tiny_world import model, shipped
from vigorl_jax.tasks import glyph_search
from vigorl_jax.tasks.glyph_levels import LETTERS, LEVEL_1
from vigorl_jax.testing.models import TINY_IMAGES

# What `experiments.sample --help` names for the tiny model.
TINY_WORLD = {"task": "glyph_search", "prompt": "tiny", "zoom_edges": "snap", "forces_answer": "false"}
# A question may have any number of turns, an image any size.
LENGTHS = {"max_turns", "max_zooms", "max_turn_tokens", "max_tokens", "max_prompt_tokens", "max_pixels"}
LENGTHS |= {"max_malformed"}


def test_turns_are_shown_and_the_trace_is_written(run_binary, model_dir, photograph, tmp_path):
    out = tmp_path / "new" / "out"
    result = run_binary(
        "sample", "--model", model_dir, "--image", photograph,
        "--question", "Who is <this>?", "--answer", "Grace Hopper",
        "--temperature", 1, "--seed", 3, "--max_turn_tokens", 24, "--output_dir", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    episode = load_episode(out, TINY_IMAGES)
    assert (episode.example.question, episode.example.answer) == ("Who is <this>?", "Grace Hopper")
    assert [segment.kind for segment in episode.segments[:2]] == [Kind.GIVEN, Kind.SAMPLED]
    assert f"--- turn 1, {episode.turns[0].num_tokens} tokens" in result.stdout
    assert f"--- {episode.status}, {episode.num_tokens} tokens" in result.stdout
    assert set(episode.reward) >= {"overall", "format", "accuracy"}
    assert "overall: " in result.stdout
    assert "Who is &lt;this&gt;?" in (out / "episode.html").read_text("utf-8")
    # 512 x 600 pixels are seen at 392 x 476, 14 x 17 tokens.
    view = episode.views[0]
    assert (view.frame.width, view.frame.height, view.num_tokens) == (392, 476, 238)


def test_the_shipped_model_zooms_into_a_scene_and_answers_with_a_letter(run_binary, tmp_path):
    example = glyph_search.example(LEVEL_1, seed=11, index=0)
    (tmp_path / "scene.png").write_bytes(example.images[0])
    result = run_binary(
        "sample", "--model", shipped.directory(), "--image", tmp_path / "scene.png",
        "--question", example.question, "--answer", example.answer, "--output_dir", tmp_path / "out",
        *(f"--{name}={value}" for name, value in TINY_WORLD.items()),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    episode = load_episode(tmp_path / "out", model.image_settings())
    assert episode.status is Status.ANSWERED
    assert episode.answer in LETTERS
    assert f"answer: {episode.answer}" in result.stdout
    assert episode.zooms
    for zoom in episode.zooms:
        x0, y0, x1, y1 = zoom.window
        assert (x1 - x0, y1 - y0, x0 % 28, y0 % 28) == (112, 112, 0, 0)
    assert episode.reward["accuracy"] == float(episode.answer == example.answer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "absent.jpg"}, "sample: [Errno 2] No such file or directory: 'absent.jpg'"),
        ({"task": "chess"}, "flag --task=chess"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run_binary, model_dir, photograph, tmp_path, change, message):
    values = {"model": model_dir, "image": photograph, "question": "Who?", "output_dir": tmp_path / "out"}
    result = run_binary("sample", *(f"--{name}={value}" for name, value in (values | change).items()))
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def parsed():
    """Lets a test read flags that no command line has set."""
    flags.FLAGS.mark_as_parsed()


@pytest.mark.usefixtures("parsed")
def test_the_flags_of_the_tiny_model_hold_episodes_as_its_training_does():
    with _given(**TINY_WORLD):
        held = fields.values(sample.episode_settings())
    trained = fields.values(catalog.GRPO["glyph_search_tiny"].settings.episodes)
    assert {name: value for name, value in held.items() if name not in LENGTHS} == {
        name: value for name, value in trained.items() if name not in LENGTHS
    }


@pytest.mark.usefixtures("parsed")
@pytest.mark.parametrize(
    ("flagged", "expected"),
    [
        ({}, ("multiturn", 4)),
        ({"max_zooms": "2"}, ("multiturn", 2)),
        ({"max_zooms": "0"}, ("grounded", 0)),
        ({"condition": "base"}, ("base", 0)),
    ],
)
def test_the_condition_and_the_zooms_follow_each_other(flagged, expected):
    with _given(**flagged):
        held = sample.episode_settings()
    assert (held.condition, held.limits.max_zooms) == expected


@pytest.mark.usefixtures("parsed")
@pytest.mark.parametrize(
    ("flagged", "message"),
    [
        ({"prompt": "stored"}, "prompt stored belongs to supervised dialogues; give own, tiny, checkpoint"),
        ({"condition": "multiturn", "max_zooms": "0"}, "condition multiturn with max_zooms 0 never zooms"),
        ({"condition": "base", "max_zooms": "2"}, "only multiturn zooms; set max_zooms to 0"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flagged, message):
    with _given(**flagged), pytest.raises(ValueError, match=message):
        sample.episode_settings()


@pytest.mark.usefixtures("parsed")
def test_a_prompt_comes_from_a_file_or_from_the_checkpoint(model_dir, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Look closely.\n")
    for prompt, message in ((file, "Look closely."), ("checkpoint", chat.DEFAULT_SYSTEM), ("own", None)):
        with _given(prompt=str(prompt)):
            assert sample.episode_settings().system_message(str(model_dir)) == message
    with (
        _given(prompt=str(tmp_path / "absent.txt")),
        pytest.raises(FileNotFoundError, match="There is no prompt file"),
    ):
        sample.episode_settings().system_message(str(model_dir))


def _given(**flagged):
    """Sets flags to what a command line says, for a while."""
    parsed = {name: flags.FLAGS[name].parser.parse(text) for name, text in flagged.items()}
    return flagsaver.flagsaver(**parsed)
