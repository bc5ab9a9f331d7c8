"""From episodes to the micro-batches of one update."""

import math
from collections.abc import Sequence

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs.learning_settings import RowSettings
from vigorl_jax.training.batch import Batch, ImageTable, collate, pack
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.packing import packed_rows


def make_batches(
    episodes: Sequence[Episode],
    images: ImageTable,
    learner: Learner,
    settings: RowSettings,
    advantages: Sequence[float] | None = None,
) -> list[Batch]:
    """Micro-batches of `micro_rows` rows for each device that shares rows; one compiled update serves all.

    With 3 micro_rows on 2 devices, 13 rows make 3 micro-batches of 6 rows, the last of them emptier.

    Raises:
      ValueError: no episodes, one longer than a row, or without log-probs where advantages are given.
    """
    config, rows_each = learner.config, settings.micro_rows * learner.placement.row_devices
    if settings.row_length is None:
        count = math.ceil(len(episodes) / rows_each)
        return collate(episodes, images, config, advantages=advantages, count=count, row_multiple=rows_each)
    rows = packed_rows([episode.num_tokens for episode in episodes], settings.row_length)
    return pack(
        episodes,
        images,
        config,
        length=settings.row_length,
        advantages=advantages,
        count=math.ceil(len(rows) / rows_each),
        row_multiple=rows_each,
    )
