"""A run from its settings to its end: what is opened, in which order, and what is refused before the first step."""

import contextlib
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.rollout import Plan
from vigorl_jax.runs import loop, parts
from vigorl_jax.runs.bad_records import BadRecords
from vigorl_jax.runs.data import GENERATED, ExampleSource
from vigorl_jax.runs.episode_settings import RewardSettings
from vigorl_jax.runs.grpo import GrpoJob
from vigorl_jax.runs.loop import Outcome, RunError
from vigorl_jax.runs.parts import Model
from vigorl_jax.runs.rating import Rating
from vigorl_jax.runs.rollouts import Roller
from vigorl_jax.runs.settings import GrpoRun, Run, SftRun
from vigorl_jax.runs.sft import SftJob
from vigorl_jax.runs.teaching import Teacher
from vigorl_jax.runs.tiny_world import model as tiny_world
from vigorl_jax.runs.validation import Validator
from vigorl_jax.sampling import decoding
from vigorl_jax.tasks import glyph_levels
from vigorl_jax.tasks.example import Example
from vigorl_jax.training import distributed
from vigorl_jax.training.learner import Learner

FIRST_MODEL = "first_model"
# Slots for the validation of a supervised run, which has no settings of sampling.
_SFT_SLOTS = 64


def train_grpo(run: GrpoRun) -> Outcome:
    """Runs to the last step, from the newest checkpoint in the work directory where there is one.

    Raises:
      ValueError: settings that contradict each other or what is found; the message says which, and what to do.
      OSError: files that are absent or cannot be written.
    """
    sampling = run.sampling
    model = _open_model(run)
    distributed.process_slice(sampling.examples_per_step)
    _check_rows(run, model, run.episodes_per_update, "an update")
    plans = parts.make_plans(run, model, parts.tasks_of(run))
    bad, check = _bad_records(run), parts.usable(run, model, plans)
    own_share = math.ceil(sampling.episodes_per_step / jax.process_count())
    roller = parts.make_roller(
        run, model, plans, run.reward,
        slots=min(sampling.slots, own_share), group_size=sampling.group_size, least_rows=sampling.least_rows,
    )  # fmt: skip
    source = ExampleSource(
        run.data, bad, check,
        process=jax.process_index(), num_processes=jax.process_count(),
    )  # fmt: skip
    learner = Learner(
        model.policy.config,
        run.learner_for(run.num_steps),
        banned=decoding.banned_tokens(model.policy.config, text_tokens=model.policy.tokenizer.vocab_size),
        mesh=model.mesh,
    )
    validator = _validator(run, model, plans, roller, parts.validation_sets(run, bad, check))
    rating = Rating(run.advantages, run.most_sampled_tokens)
    job = GrpoJob(run, roller, rating, model, learner, source, bad, validator)
    return loop.run(job, run.loop_for(run.num_steps))


def train_sft(run: SftRun) -> Outcome:
    """As `train_grpo`."""
    model = _open_model(run)
    _check_rows(run, model, run.batch_size, "a batch")
    plans = parts.make_plans(run, model, parts.tasks_of(run))
    bad = _bad_records(run)
    teacher = Teacher(
        plans,
        model.policy.tokenizer,
        model.policy.images,
        keeps_system=run.episodes.prompt == "stored",
        keeps_points=run.points == "keep",
    )
    source = ExampleSource(
        run.data, bad, teacher, process=jax.process_index(), num_processes=jax.process_count()
    )
    num_steps = run.num_steps or math.ceil(run.num_epochs * len(source) / run.batch_size)
    learner = Learner(model.policy.config, run.learner_for(num_steps), mesh=model.mesh)
    sets, validator = parts.validation_sets(run, bad, parts.usable(run, model, plans)), None
    if sets and run.episodes.condition is not Condition.BASE:
        reward = RewardSettings(diversity_bonus=run.episodes.condition is Condition.MULTITURN)
        roller = parts.make_roller(run, model, plans, reward, slots=_SFT_SLOTS, group_size=1)
        validator = Validator(run.validation, roller, sets)
    held_out = _held_out(sets, teacher)
    job = SftJob(run, num_steps, held_out, model, learner, source, bad, validator)
    return loop.run(job, run.loop_for(num_steps))


def _open_model(run: Run) -> Model:
    if not run.workdir:
        raise RunError("no workdir is given; name the directory that the run writes and goes on from")
    if run.model is not None:
        return parts.load_model(run, pathlib.Path(run.model))
    directory = pathlib.Path(run.workdir) / FIRST_MODEL
    if distributed.is_main() and not (directory / "config.json").is_file():
        _make_tiny_model(run, directory)
    distributed.any_process(False)  # Every process waits for the files.
    return parts.load_model(run, directory)


def _make_tiny_model(run: Run, directory: pathlib.Path) -> None:
    """A tiny model with random weights, whose images are as large as the overviews of the first generated data set."""
    names = [name for name in run.data.datasets if name.startswith(GENERATED)]
    level = glyph_levels.get(names[0].removeprefix(GENERATED)) if names else glyph_levels.LEVEL_1
    config = tiny_world.config()
    directory.mkdir(parents=True, exist_ok=True)
    params = tiny_world.first_params(config, run.seed)
    tiny_world.write_files(directory, config, params, tiny_world.image_settings(level))


def _check_rows(run: Run, model: Model, episodes: int, what: str) -> None:
    """Refuses batches of one episode a row that leave devices without work; packed rows are filled up."""
    if model.mesh is not None and run.rows.row_length is None:
        distributed.check_rows(episodes, model.mesh, what)


def _bad_records(run: Run) -> BadRecords:
    def report(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    return BadRecords(run.data.bad, report)


def _validator(
    run: GrpoRun,
    model: Model,
    plans: Mapping[str, Plan],
    roller: Roller,
    sets: Mapping[str, Sequence[Example]],
) -> Validator | None:
    if not sets:
        return None
    if roller.shares_prompts:
        # Slots that share prompts in groups would mostly stay empty where each example has one episode.
        roller = parts.make_roller(
            run, model, plans, run.reward,
            slots=run.sampling.slots, group_size=1, least_rows=run.sampling.least_rows,
        )  # fmt: skip
    return Validator(run.validation, roller, sets)


def _held_out(sets: Mapping[str, Sequence[Example]], teacher: Teacher) -> dict[str, Sequence[Episode]]:
    """Episodes of the validation sets that bring some; sets of questions alone are left to roll outs."""
    found = {}
    for name, examples in sets.items():
        with contextlib.suppress(ValueError):
            found[name] = [teacher(example) for example in examples]
    return found
