"""Asks a model one question about one image, and shows what it looks at: turns, zooms, answer.

  python -m experiments.sample --model DIR --image photo.jpg --question "What is on the sign?" --output_dir sign

Writes episode.json, episode.html (open it in a browser) and the crops to the output directory. How the episode is held
has the flags of `train_grpo`. Without them there are up to 4 zooms, cut as the task has it; --max_zooms=0 is a single
turn with points. What the tiny model was trained for is asked by the flags of its preset:

  python -m experiments.sample --model vigorl_jax/runs/tiny_world/checkpoint --image scene.png \\
    --question "Which letter is on the red circle?" --task glyph_search --prompt tiny --zoom_edges snap \\
    --noforces_answer
"""

import pathlib
import sys

from absl import flags

from experiments import settings_flags
from experiments.launch import launch
from vigorl_jax import rollout
from vigorl_jax.reasoning import episode_rewards, rewards
from vigorl_jax.reasoning.calls import Malformed
from vigorl_jax.reasoning.dialogue import Dialogue
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.episode_files import save_episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import ZoomSettings
from vigorl_jax.report.page import write_report
from vigorl_jax.runs import contradictions, fields
from vigorl_jax.runs import policy as policies
from vigorl_jax.runs.episode_settings import EpisodeSettings
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks import catalog
from vigorl_jax.tasks.example import Example

NO_REFERENCE = "(not given)"

_MODEL = flags.DEFINE_string("model", None, "Model directory.", required=True)
_IMAGE = flags.DEFINE_string("image", None, "Image file.", required=True)
_QUESTION = flags.DEFINE_string("question", None, "What to ask about it.", required=True)
_OUTPUT = flags.DEFINE_string("output_dir", "sample", "Folder for episode.json, episode.html and the crops.")
_TASK = flags.DEFINE_enum("task", "visual_search", tuple(catalog.CATALOG), "Prompt and zoom preset.")
_ANSWER = flags.DEFINE_string("answer", None, "Reference answer; with one, the episode is scored.")
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 takes the likeliest token.", lower_bound=0)
_TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "Keeps the likeliest tokens up to this sum.", lower_bound=1e-6, upper_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_DTYPE = flags.DEFINE_enum("dtype", None, ("float32", "bfloat16"), "Of the parameters; as stored by default.")

# There is one opening, whose length is known, and room for an episode as long as by default.
settings_flags.define_values(EpisodeSettings, left_out=("max_prompt_tokens", "max_tokens"))


def main() -> None:
    """Samples the episode, prints its turns and writes its files."""
    path = pathlib.Path(_IMAGE.value)
    reference = _ANSWER.value or NO_REFERENCE
    example = Example(path.stem, _TASK.value, _QUESTION.value, reference, (path.read_bytes(),))
    held = episode_settings()
    plan = held.plan(example.task, held.system_message(_MODEL.value))
    policy = policies.load(_MODEL.value, dtype=_DTYPE.value, max_pixels=held.max_pixels)
    prompt_tokens = policies.opening_tokens(policy, plan, example)
    sampler = policies.scheduler(policy, [plan], prompt_tokens=prompt_tokens, slots=1)
    sampling = TurnSettings(held.limits.max_turn_tokens, temperature=_TEMPERATURE.value, top_p=_TOP_P.value)
    settings = rollout.Settings({example.task: plan}, policy.images, sampling)
    ((episode,),) = rollout.collect(
        sampler, [example], policy.tokenizer, settings, seed=_SEED.value, on_turn=_print_turn
    )
    if _ANSWER.value and plan.rules.condition is not Condition.BASE:
        reward = rewards.name_for(example.task, plan.rules.condition)
        episode = episode_rewards.score(
            episode, policy.tokenizer, reward=reward, preset="gated", form=plan.rules.form
        )
    folder = pathlib.Path(_OUTPUT.value)
    save_episode(episode, folder, policy.images)
    page = write_report([episode], folder / "episode.html", title=path.name, settings=policy.images)
    _print_end(episode, page)


def episode_settings() -> EpisodeSettings:
    """How the flags want the episode to be held.

    Raises:
      ValueError: values that contradict each other, or a prompt that only dialogues have.
    """
    given = settings_flags.given(EpisodeSettings)
    if given.get("max_zooms") == 0:
        given.setdefault("condition", Condition.GROUNDED)
    if given.get("condition", Condition.MULTITURN) is not Condition.MULTITURN:
        given.setdefault("max_zooms", 0)
    settings = fields.replace(EpisodeSettings(zoom=ZoomSettings(catalog.get(_TASK.value).zoom)), given)
    contradictions.of_sampled_episodes(settings)
    return settings


def _print_turn(dialogue: Dialogue) -> None:
    turn = dialogue.segments[-1]
    lines = [f"--- turn {dialogue.num_turns}, {turn.num_tokens} tokens", turn.text.strip()]
    lines += [f"(not carried out: {turn.action.reason})"] if isinstance(turn.action, Malformed) else []
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _print_end(episode: Episode, page: pathlib.Path) -> None:
    lines = [f"--- {episode.status}, {episode.num_tokens} tokens in all"]
    lines += [
        f"zoom {n} at {z.point}: window {z.window} of the original" for n, z in enumerate(episode.zooms, 1)
    ]
    lines += [] if episode.answer is None else [f"answer: {episode.answer}"]
    lines += [f"{name}: {value:g}" for name, value in episode.reward.items()]
    sys.stdout.write("\n".join([*lines, f"open {page}"]) + "\n")


if __name__ == "__main__":
    launch(main)
