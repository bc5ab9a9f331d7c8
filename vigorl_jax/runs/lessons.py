"""From episodes to what one update takes: micro-batches and images, in shapes that settle as a run goes on."""

import math
from collections.abc import Sequence

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs.learning_settings import RowSettings
from vigorl_jax.training.batch import Batch, BatchShape, Slots, batch_shape, collate, pack
from vigorl_jax.training.encoder import Encoder, Known
from vigorl_jax.training.image_embeds import Images
from vigorl_jax.training.image_table import ImageTable, UnitTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.packing import packed_rows
from vigorl_jax.training.settled_shapes import SettledShapes
from vigorl_jax.training.state import TrainState


class Lessons:
    """Makes lessons for one learner.

    Args:
      learner: learns from them.
      settings: how episodes become rows.
      images: settings of the model's images.
    """

    def __init__(self, learner: Learner, settings: RowSettings, images: ImageSettings):
        self._learner, self._settings, self._images = learner, settings, images
        self._encoder = Encoder(learner, images)

    def __call__(
        self,
        state: TrainState,
        episodes: Sequence[Episode],
        shapes: SettledShapes,
        *,
        advantages: Sequence[float] | None = None,
        known: Known | None = None,
    ) -> tuple[list[Batch], Images]:
        """Micro-batches and the images of all of them.

        Args:
          state: of the learner.
          episodes: what is learned.
          shapes: those of the lessons before.
          advantages: one for each episode; None for supervised learning.
          known: embeddings that the sampler has made of images with this state's tower.

        Raises:
          ValueError: no episodes, one longer than a row, or without log-probs where advantages are given.
        """
        wanted = batch_shape(episodes, self._settings.row_length)
        wanted = wanted._replace(targets=max(wanted.targets, self._settings.row_targets or 1))
        if not self._learner.encodes:
            table = ImageTable(episodes, self._learner.config)
            shape, _ = shapes.settle(wanted, 1)
            images = table.patch_batch(self._images)
        else:
            table = UnitTable(episodes, self._learner.config)
            shape, units = shapes.settle(wanted, table.units)
            images = self._encoder(state, table, units, known)
        return make_batches(episodes, table, self._learner, self._settings, advantages, shape), images


def make_batches(
    episodes: Sequence[Episode],
    images: Slots,
    learner: Learner,
    settings: RowSettings,
    advantages: Sequence[float] | None = None,
    shape: BatchShape | None = None,
) -> list[Batch]:
    """Micro-batches of `micro_rows` rows for each device that shares rows; one compiled update serves all.

    With 3 micro_rows on 2 devices, 13 rows make 3 micro-batches of 6 rows, the last of them emptier.

    Raises:
      ValueError: no episodes, one longer than a row, or without log-probs where advantages are given.
    """
    config, rows_each = learner.config, settings.micro_rows * learner.placement.row_devices
    if settings.row_length is None:
        count = math.ceil(len(episodes) / rows_each)
        return collate(
            episodes, images, config, advantages=advantages, count=count, row_multiple=rows_each, shape=shape
        )
    rows = packed_rows([episode.num_tokens for episode in episodes], settings.row_length)
    return pack(
        episodes,
        images,
        config,
        length=settings.row_length,
        advantages=advantages,
        count=math.ceil(len(rows) / rows_each),
        row_multiple=rows_each,
        shape=shape,
    )
