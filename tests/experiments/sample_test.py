"""The sample binary, from a photograph to the trace, as a user runs it."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sample
from vigorl_jax.processing import chat
from vigorl_jax.reasoning.episode import Kind
from vigorl_jax.reasoning.episode_files import load_episode
from vigorl_jax.testing.models import TINY_IMAGES


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
@pytest.mark.parametrize(
    ("condition", "max_zooms", "expected"),
    [(None, 4, "multiturn"), (None, 0, "grounded"), ("base", 4, "base"), ("multiturn", 0, "multiturn")],
)
def test_the_condition_follows_the_zooms_unless_it_is_given(condition, max_zooms, expected):
    with flagsaver.flagsaver(condition=condition, max_zooms=max_zooms):
        plan = sample.make_plan()
    assert plan.rules.condition == expected
    assert plan.rules.limits.max_zooms == (max_zooms if expected == "multiturn" else 0)


@pytest.mark.usefixtures("parsed")
def test_a_prompt_comes_from_a_file_or_from_the_checkpoint(model_dir, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Look closely.\n")
    with flagsaver.flagsaver(prompt=str(file)):
        assert sample.make_plan().rules.system == "Look closely."
    with flagsaver.flagsaver(prompt="checkpoint", model=str(model_dir)):
        assert sample.make_plan().rules.system == chat.DEFAULT_SYSTEM
    with (
        flagsaver.flagsaver(prompt=str(tmp_path / "absent.txt")),
        pytest.raises(FileNotFoundError, match="There is no prompt file"),
    ):
        sample.make_plan()
