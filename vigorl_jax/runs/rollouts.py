"""Scored groups of episodes, the same on every process of a run.

Each process rolls out its share of the examples on its own devices and scores it; then all exchange their episodes.
"""

from collections.abc import Callable, Mapping, Sequence

import jax

from vigorl_jax import rollout
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.rollout import Plan
from vigorl_jax.runs import episode_bytes
from vigorl_jax.runs.policy import Desk, Policy
from vigorl_jax.runs.scoring import Scorer
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.sampling.scheduler import EpisodeSampler
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.tasks.example import Example

Groups = list[list[Episode]]
# Rows under way or queued for each slot: enough to fill slots that become free, few enough to bound the images held.
_OPEN_PER_SLOT = 2


class Roller:
    """Rolls out examples and scores what came of it.

    Args:
      policy: the model; its parameters are not used.
      desk: compiled sampling.
      plans: by task.
      scorer: gives rewards.
      seed: of the run.
    """

    def __init__(self, policy: Policy, desk: Desk, plans: Mapping[str, Plan], scorer: Scorer, seed: int):
        self._policy, self._desk, self._plans, self._scorer, self._seed = policy, desk, plans, scorer, seed

    @property
    def shares_prompts(self) -> bool:
        """Whether slots are meant for groups, which read one copy of their prompt."""
        return self._desk.shapes.prefixes > 0

    def open(self, params: Params, seen: SeenImages | None = None) -> EpisodeSampler:
        """A sampler with these parameters, from where the learner holds them; every process must call it.

        The samplers opened before must not be used any more.

        seen: an empty one, to be given the embeddings of all images that this process samples on.
        """
        return self._desk.open(params, seen)

    def roll(
        self,
        sampler: EpisodeSampler,
        examples: Sequence[Example],
        *,
        step: int,
        group_size: int,
        temperature: float,
        top_p: float = 1.0,
        on_turn: Callable[[], None] = lambda: None,
    ) -> Groups:
        """A group for each of this process's examples; may run in any thread.

        Args:
          sampler: of `open`.
          examples: this process's share.
          step: of the run; with the seed it makes the draws.
          group_size: episodes of an example.
          temperature, top_p: of sampling; 0 takes the likeliest tokens.
          on_turn: called as each turn ends; may raise to give up.

        Raises:
          What `rollout.collect` raises.
        """
        settings = rollout.Settings(
            plans=self._plans,
            images=self._policy.images,
            sampling=TurnSettings(1, temperature=temperature, top_p=top_p),
            group_size=group_size,
            open_episodes=max(group_size, _OPEN_PER_SLOT * self._desk.shapes.slots),
        )
        return rollout.collect(
            sampler,
            examples,
            self._policy.tokenizer,
            settings,
            seed=self._seed,
            step=step,
            on_turn=lambda _: on_turn(),
        )

    def score(self, groups: Groups) -> Groups:
        """The groups of all processes with their rewards, in the order of the processes; every process must call it.

        Raises:
          RewardError: a reward that cannot be used.
        """
        scored = self._scorer(groups)
        return scored if jax.process_count() == 1 else episode_bytes.gather(scored, self._policy.images)


def metrics(groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """What to log of rolled-out groups; the names without a slash are those that the alarms watch."""
    episodes = [episode for group in groups for episode in group]
    turns = sum(len(episode.turns) for episode in episodes)
    points = sum(len(episode.points) for episode in episodes)
    return {
        **{f"episodes/{name}": value for name, value in rollout.metrics(episodes).items()},
        "episodes/points": points / len(episodes),
        "zooms_per_episode": sum(len(episode.crops) for episode in episodes) / len(episodes),
        "malformed_share": sum(len(episode.malformed) for episode in episodes) / turns,
        "tokens": sum(episode.num_tokens for episode in episodes),
    }
