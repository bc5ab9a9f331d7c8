"""The job of supervised learning: episodes that were written beforehand are taught token by token."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs import episode_bytes
from vigorl_jax.runs.job import ModelJob, on_host
from vigorl_jax.runs.loop import TOKENS, Frame
from vigorl_jax.runs.settings import SftRun
from vigorl_jax.runs.validation import PREFIX
from vigorl_jax.training.settled_shapes import SettledShapes


class SftJob(ModelJob):
    """Steps of an `SftRun`; see `loop.Job`. Its source gives episodes.

    Args:
      run: the settings.
      num_steps: of the run.
      held_out: episodes whose loss is measured in validations, by the name of their data set.
      common: the arguments of `ModelJob` behind the settings.
    """

    headline = ("loss", "entropy", f"{PREFIX}/loss", f"{PREFIX}/accuracy")

    def __init__(self, run: SftRun, num_steps: int, held_out: Mapping[str, Sequence[Episode]], *common: Any):
        super().__init__(run, *common)
        self._num_steps, self._held_out = num_steps, held_out

    def step(self, number: int, frame: Frame) -> dict[str, float]:
        """See `loop.Job`."""
        metrics = self.begin_metrics(number, frame)
        with frame.clock.phase("data"):
            episodes = self._gathered(self.source.take(self.run.batch_size))
        with frame.clock.phase("prepare"):
            batches, images = self.lessons(self.state, episodes, self.shapes)
        if self.run.report_every is not None and number % self.run.report_every == 0:
            self.write_page(episodes, f"step_{number:06d}", frame)
        with frame.clock.phase("learn"):
            frame.begin_update()
            self.state, learned = self.learner.update(self.state, batches, images)
        self.finished_steps = number
        tokens = sum(episode.num_tokens for episode in episodes)
        metrics |= {**learned, TOKENS: tokens, "episodes_learned": len(episodes)}
        return {**metrics, **self.end_metrics(number, self._num_steps, frame)}

    def validation_metrics(self, number: int, frame: Frame, check: Callable[[], None]) -> dict[str, float]:
        """The loss on held-out episodes, beside what roll outs bring."""
        metrics = {f"{PREFIX}/{name}/loss": self.loss(found) for name, found in self._held_out.items()}
        if metrics:
            metrics[f"{PREFIX}/loss"] = sum(metrics.values()) / len(metrics)
        return {**metrics, **super().validation_metrics(number, frame, check)}

    def loss(self, episodes: Sequence[Episode]) -> float:
        """Mean -log policy over the taught tokens of some episodes."""
        total = count = 0.0
        for start in range(0, len(episodes), self.run.batch_size):
            part = episodes[start : start + self.run.batch_size]
            # Shapes of their own: a checkpoint knows nothing of validations.
            batches, images = self.lessons(self.state, part, SettledShapes())
            scores = on_host(self.learner.score(self.state, batches, images))
            for batch, score in zip(batches, scores, strict=True):
                log_probs = np.asarray(score.log_probs, np.float64)[batch.targets.mask]
                total, count = total - log_probs.sum(), count + len(log_probs)
        return float(total / max(1.0, count))

    def _gathered(self, episodes: list[Episode]) -> list[Episode]:
        """Those of all processes: each reads its share."""
        if jax.process_count() == 1:
            return episodes
        groups = episode_bytes.gather([episodes], self.model.policy.images)
        return [episode for group in groups for episode in group]
