"""What is asked of a sampler and what it answers, in token ids: no text, no tasks."""

import dataclasses
import hashlib
from typing import Literal

import numpy as np

from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import Grid


class SamplingError(ValueError):
    """A request that cannot be served as it was made, or logits that are not numbers; names the row."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image as the model sees it.

    Attributes:
      patches: its patches, of one grid.
      key: equal for images of equal content; embeddings are kept by it.
    """

    patches: Patches
    key: str

    @classmethod
    def of(cls, patches: Patches) -> "Image":
        """An image with the digest of its content as key. Reads the pixels back from the device.

        Raises:
          ValueError: patches of several images.
        """
        if len(patches.grids) != 1:
            raise ValueError(f"patches of {len(patches.grids)} images; wanted one: use unpack_patches first")
        pixels = np.asarray(patches.pixels)[: patches.count]
        digest = hashlib.blake2b(repr(patches.grids).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels))
        return cls(patches, digest.hexdigest())

    @property
    def grid(self) -> Grid:
        """(t, h, w) in patches."""
        return self.patches.grids[0]


@dataclasses.dataclass(frozen=True)
class Given:
    """Tokens that are given, not sampled: a prompt, or what follows a turn.

    Attributes:
      tokens: ids; each image stands as one placeholder for every merged patch.  # [L]
      images: the images of the placeholders, in order.
    """

    tokens: np.ndarray
    images: tuple[Image, ...] = ()

    @property
    def key(self) -> tuple:
        """Equal for equal tokens and images: prompts of one group share it."""
        return np.asarray(self.tokens, np.int32).tobytes(), tuple(image.key for image in self.images)


@dataclasses.dataclass(frozen=True)
class Stream:
    """Where an episode's randomness comes from; with the turn it makes the key of each of its draws.

    Equal streams give equal tokens wherever and beside whatever they are sampled. Numbers are of 32 bits, unsigned.
    """

    seed: int
    step: int
    example: int
    episode: int

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit the 32 bits that are folded into a key."""
        for name, number in vars(self).items():
            if not 0 <= number < 1 << 32:
                raise SamplingError(f"{name} {number} of a stream; wanted a number from 0 to 2^32 - 1")


@dataclasses.dataclass(frozen=True)
class TurnSettings:
    """How one turn is sampled.

    Attributes:
      max_tokens: tokens after which the turn ends without a stop.
      temperature, top_p, top_k, min_p, repetition_penalty: see `decoding.SamplingSettings`.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclasses.dataclass(frozen=True)
class FinishedTurn:
    """What was sampled in one turn.

    Attributes:
      ticket: the episode, as `submit` named it.
      turn: 0 for the first turn of the episode.
      tokens: sampled ids, the stop included.  # [T]
      logprobs: of the policy at the sampling temperature, see `decoding.policy_logprobs`.  # [T]
      truncated_logprobs: of the distribution that the tokens were drawn from.  # [T]
      reason: "stop", or "length" when max_tokens were sampled, or fewer if the cache was full.
      room: tokens that the episode can still take, given and sampled ones together.
    """

    ticket: int
    turn: int
    tokens: np.ndarray
    logprobs: np.ndarray
    truncated_logprobs: np.ndarray
    reason: Literal["stop", "length"]
    room: int
