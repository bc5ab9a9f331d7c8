"""The policy that the KL term holds on to: the one before the first update."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.array_typing import Array
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.training.batch import Batch, Values
from vigorl_jax.training.image_embeds import Images
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.state import TrainState

PLACES = ("device", "host")
HOST_MEMORY = "pinned_host"


class Reference:
    """Parameters of a reference policy, and the log-probs under them.

    Only trained parameters are kept, in the dtype of computation; frozen ones are shared with the learner. With LoRA
    nothing is kept at all: the reference is the model with its adapters off.
    """

    def __init__(self, learner: Learner, state: TrainState, *, place: str = "device"):
        """Copies what it needs: `state` may be updated afterwards.

        Args:
          learner: scores for it.
          state: before the first update; for a run that goes on, made anew with `learner.before_training`.
          place: "device", or "host": parameters are then moved to the device while they score, and dropped.

        Raises:
          ValueError: another place.
        """
        if place not in PLACES:
            raise ValueError(f"the reference's place is {place!r}; choose one of {', '.join(PLACES)}")
        self._learner = learner
        self._shardings = jax.tree.map(lambda x: x.sharding, state.params)
        kept = learner.network.without_training(state.params)
        if kept is None:
            kept = _copied(state.params, learner.settings.compute_dtype)
        self._state = dataclasses.replace(
            state, params=_to_host(kept) if place == "host" else kept, opt_state=()
        )

    @property
    def kept(self) -> Params:
        """The trained parameters as they were, where they are kept."""
        return self._state.params

    def score(self, batches: Sequence[Batch], images: Images) -> list[Values]:
        """Log-probs of the targets of each batch; images as for `Learner.score`."""
        # Those that lie on the device already are not moved.
        params = jax.device_put(self.kept, self._shardings)
        scores = self._learner.score(dataclasses.replace(self._state, params=params), batches, images)
        return [one.log_probs for one in scores]


def _copied(params: Params, dtype: str) -> Params:
    return jax.tree.map(lambda x: jnp.array(x, dtype, copy=True), params)


def _to_host(params: Params) -> Params:
    """In the host's memory, sharded as it was; as NumPy arrays where the backend has no memory kinds."""

    def move(x: Array) -> Array | np.ndarray:
        kinds = {memory.kind for device in x.sharding.device_set for memory in device.addressable_memories()}
        if HOST_MEMORY in kinds:
            return jax.device_put(x, x.sharding.with_memory_kind(HOST_MEMORY))
        return np.asarray(x)

    return jax.tree.map(move, params)
