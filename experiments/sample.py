"""Asks a model one question about one image, and shows what it looks at: turns, zooms, answer.

  python -m experiments.sample --model DIR --image photo.jpg --question "What is on the sign?" --output_dir sign

Writes episode.json, episode.html (open it in a browser) and the crops to the output directory.
"""

import pathlib
import sys

from absl import flags

from experiments.launch import launch
from vigorl_jax import rollout
from vigorl_jax.reasoning import episode_rewards, rewards, stored_prompts
from vigorl_jax.reasoning.calls import Malformed
from vigorl_jax.reasoning.dialogue import Dialogue, Limits
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.episode_files import save_episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import CutFrom, Edges, ZoomSettings
from vigorl_jax.report.page import write_report
from vigorl_jax.runs import policy as policies
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks import catalog
from vigorl_jax.tasks.example import Example

NO_REFERENCE = "(not given)"
_DEFAULTS = Limits()

_MODEL = flags.DEFINE_string("model", None, "Model directory.", required=True)
_IMAGE = flags.DEFINE_string("image", None, "Image file.", required=True)
_QUESTION = flags.DEFINE_string("question", None, "What to ask about it.", required=True)
_OUTPUT = flags.DEFINE_string("output_dir", "sample", "Folder for episode.json, episode.html and the crops.")
_TASK = flags.DEFINE_enum("task", "visual_search", tuple(catalog.CATALOG), "Prompt and zoom preset.")
_CONDITION = flags.DEFINE_enum(
    "condition", None, tuple(Condition), "How it is done; multiturn by default, grounded with --max_zooms=0."
)
_ANSWER = flags.DEFINE_string("answer", None, "Reference answer; with one, the episode is scored.")
_PROMPT = flags.DEFINE_string(
    "prompt", None, 'Text file with a system message, or "checkpoint" for that of the model\'s chat template.'
)
_MAX_ZOOMS = flags.DEFINE_integer(
    "max_zooms", _DEFAULTS.max_zooms, "Zooms; 0 is a single turn.", lower_bound=0
)
_MAX_TURNS = flags.DEFINE_integer("max_turns", _DEFAULTS.max_turns, "Turns.", lower_bound=1)
_MAX_TURN_TOKENS = flags.DEFINE_integer(
    "max_turn_tokens", _DEFAULTS.max_turn_tokens, "Tokens of one turn.", lower_bound=1
)
_MAX_PIXELS = flags.DEFINE_integer("max_pixels", None, "Largest image that the model sees.", lower_bound=784)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 takes the likeliest token.", lower_bound=0)
_TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "Keeps the likeliest tokens up to this sum.", lower_bound=1e-6, upper_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")
_EDGES = flags.DEFINE_enum("edges", "clamp", tuple(Edges), "Windows over the border: cut off or moved.")
_CUT_FROM = flags.DEFINE_enum(
    "cut_from", "original", tuple(CutFrom), "Crops from the original, or as the official code does."
)
_DTYPE = flags.DEFINE_enum("dtype", None, ("float32", "bfloat16"), "Of the parameters; as stored by default.")


def main() -> None:
    """Samples the episode, prints its turns and writes its files."""
    path = pathlib.Path(_IMAGE.value)
    reference = _ANSWER.value or NO_REFERENCE
    example = Example(path.stem, _TASK.value, _QUESTION.value, reference, (path.read_bytes(),))
    policy = policies.load(_MODEL.value, dtype=_DTYPE.value, max_pixels=_MAX_PIXELS.value)
    plan = make_plan()
    prompt_tokens = policies.opening_tokens(policy, plan, example)
    sampler = policies.scheduler(policy, [plan], prompt_tokens=prompt_tokens, slots=1)
    sampling = TurnSettings(_MAX_TURN_TOKENS.value, temperature=_TEMPERATURE.value, top_p=_TOP_P.value)
    settings = rollout.Settings({example.task: plan}, policy.images, sampling)
    ((episode,),) = rollout.collect(
        sampler, [example], policy.tokenizer, settings, seed=_SEED.value, on_turn=_print_turn
    )
    if _ANSWER.value and plan.rules.condition is not Condition.BASE:
        reward = rewards.name_for(example.task, plan.rules.condition)
        episode = episode_rewards.score(episode, policy.tokenizer, reward=reward, preset="gated")
    folder = pathlib.Path(_OUTPUT.value)
    save_episode(episode, folder, policy.images)
    page = write_report([episode], folder / "episode.html", title=path.name, settings=policy.images)
    _print_end(episode, page)


def make_plan() -> rollout.Plan:
    """The plan that the flags ask for."""
    condition = _CONDITION.value or ("multiturn" if _MAX_ZOOMS.value else "grounded")
    system = None
    if _PROMPT.value == "checkpoint":
        system = stored_prompts.from_checkpoint(_MODEL.value)
    elif _PROMPT.value is not None:
        system = stored_prompts.from_file(_PROMPT.value)
    cuts = ZoomSettings(catalog.get(_TASK.value).zoom, Edges(_EDGES.value), CutFrom(_CUT_FROM.value))
    limits = Limits(_MAX_TURNS.value, _MAX_ZOOMS.value, _MAX_TURN_TOKENS.value)
    return rollout.plan(_TASK.value, condition, limits=limits, system=system, zoom_settings=cuts)


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
