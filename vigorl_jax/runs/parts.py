"""What the jobs of a run are made of, from its settings: mesh, model, plans, compiled sampling, validation."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Mapping

from jax.sharding import Mesh

from vigorl_jax.qwen25vl import config as config_lib
from vigorl_jax.qwen25vl.sharding import param_shardings
from vigorl_jax.rollout import Plan
from vigorl_jax.runs import data
from vigorl_jax.runs import policy as policies
from vigorl_jax.runs.bad_records import BadRecords
from vigorl_jax.runs.episode_settings import CALL_FORMS, RewardSettings
from vigorl_jax.runs.policy import Desk, Policy
from vigorl_jax.runs.rollouts import Roller
from vigorl_jax.runs.scoring import Scorer
from vigorl_jax.runs.settings import Run
from vigorl_jax.tasks.example import Example
from vigorl_jax.training import distributed


@dataclasses.dataclass(frozen=True)
class Model:
    """The model that a run begins with.

    Attributes:
      directory: from which it was read.
      policy: parameters on the mesh, in the dtype in which they are stored; tokenizer and image settings.
      mesh: None where there is one device.
    """

    directory: pathlib.Path
    policy: Policy
    mesh: Mesh | None


def load_model(run: Run, directory: pathlib.Path) -> Model:
    """Reads the model onto the mesh of the settings.

    Raises:
      DistributedError: a mesh that does not fit the devices.
      ValueError: the directory is no model of this family.
    """
    mesh = distributed.make_mesh(run.mesh)
    if mesh.size == 1:
        policy = policies.load(str(directory), max_pixels=run.episodes.max_pixels)
        return Model(directory, policy, None)
    shardings = param_shardings(config_lib.load(directory), mesh)
    policy = policies.load(str(directory), max_pixels=run.episodes.max_pixels, shardings=shardings)
    return Model(directory, policy, mesh)


def make_plans(run: Run, model: Model, tasks: Collection[str]) -> dict[str, Plan]:
    """A plan for each task.

    Raises:
      FileNotFoundError: there is no such prompt file.
      ValueError: the model directory stores no prompt.
    """
    system = run.episodes.system_message(str(model.directory))
    return {task: run.episodes.plan(task, system) for task in tasks}


def usable(run: Run, model: Model, plans: Mapping[str, Plan]) -> Callable[[Example], Example]:
    """A function that hands on an example whose images can be decoded and whose opening is not too long.

    It raises ImageError or ValueError otherwise.
    """
    most = run.episodes.max_prompt_tokens

    def check(example: Example) -> Example:
        tokens = policies.opening_tokens(model.policy, plans[example.task], example)
        if tokens > most:
            raise ValueError(
                f"example {example.id!r} opens with {tokens} tokens, more than max_prompt_tokens {most}; raise it, or "
                "lower max_pixels"
            )
        return example

    return check


def make_roller(
    run: Run,
    model: Model,
    plans: Mapping[str, Plan],
    reward: RewardSettings,
    *,
    slots: int,
    group_size: int,
    least_rows: int = 1,
) -> Roller:
    """Compiled sampling and scoring; `slots` are those of a device. See `SamplingSettings` for `least_rows`.

    Raises:
      DoesNotFit: the devices have not the memory.
      ValueError: an unknown reward, or a mesh that cuts rows over processes.
    """
    desk = Desk(
        model.policy,
        list(plans.values()),
        prompt_tokens=run.episodes.max_prompt_tokens,
        slots=slots * _local_row_devices(model.mesh),
        group_size=group_size,
        least_rows=least_rows,
        dtype=run.learner.compute_dtype,
        mesh=model.mesh,
    )
    form = CALL_FORMS[run.episodes.call_form]
    scorer = Scorer(reward, run.episodes.condition, plans, model.policy.tokenizer, form)
    return Roller(model.policy, desk, plans, scorer, run.seed)


def validation_sets(
    run: Run, bad: BadRecords, check: Callable[[Example], Example]
) -> dict[str, list[Example]]:
    """The examples of each validation set that `check` hands on.

    Raises:
      SourceError: a data set that is not prepared.
      ValueError: a set without any usable example.
    """
    sets = {}
    for name, examples in data.validation_examples(run.validation, run.data.data_dir, bad).items():
        checked = [bad.attempt(example.id, functools.partial(check, example)) for example in examples]
        sets[name] = [example for example in checked if example is not None]
        if not sets[name]:
            raise ValueError(f"validation set {name} has no usable example in split {run.validation.split!r}")
    return sets


def tasks_of(run: Run) -> tuple[str, ...]:
    """Tasks of the examples of a run, those of validation included: of the first record of each data set."""
    named = [(name, run.data.split) for name in run.data.datasets]
    named += [(name, run.validation.split) for name in run.validation.datasets]
    return tuple(
        sorted({data.open_examples(name, run.data.data_dir, split)[0].task for name, split in named})
    )


def _local_row_devices(mesh: Mesh | None) -> int:
    if mesh is None:
        return 1
    local = mesh.local_mesh
    return local.size // local.shape["tensor"]
