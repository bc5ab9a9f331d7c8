"""Given tokens, checked and padded: from requests to the arrays of a prefill or an extension."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.rope import dialogue_positions
from vigorl_jax.sampling.decoding import settings as sampling_settings
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Given, Image, SamplingError, Stream, TurnSettings
from vigorl_jax.sampling.sampler import Pieces
from vigorl_jax.sampling.slots import Turns

TEXT = -1


@dataclasses.dataclass(frozen=True)
class Piece:
    """Given tokens with their places in the dialogue.

    Attributes:
      tokens, positions: ids and M-RoPE ids  # [L], [3, L]
      images: those of the placeholders, in order.
      next_position: position of the token behind the piece.
    """

    tokens: np.ndarray
    positions: np.ndarray
    images: tuple[Image, ...]
    next_position: int


def make_piece(given: Given, config: Config, *, start: int, pending: int | None, name: str) -> Piece:
    """Checks given tokens and finds their positions.

    Args:
      start: position of the first token.
      pending: the sampled token that goes before them, which is text.
      name: what an error calls the row.

    Raises:
      SamplingError: no tokens, ids outside the vocabulary, or image tokens that do not match the images.
    """
    tokens = np.asarray(given.tokens, np.int32)
    if tokens.ndim != 1 or not len(tokens):
        raise SamplingError(
            f"{name}: given tokens of shape {tokens.shape}; wanted one row of at least one id"
        )
    if tokens.min() < 0 or tokens.max() >= config.text.vocab_size:
        raise SamplingError(
            f"{name}: ids from {tokens.min()} to {tokens.max()} for a vocabulary of {config.text.vocab_size}; "
            "tokenize with the model's own tokenizer"
        )
    if pending is not None:
        tokens = np.concatenate([np.int32([pending]), tokens])
    try:
        positions, following = dialogue_positions(
            tokens,
            [image.grid for image in given.images],
            image_token_id=config.image_token_id,
            merge=config.vision.spatial_merge_size,
            start=start,
        )
    except ValueError as error:
        raise SamplingError(f"{name}: {error}") from error
    return Piece(tokens, positions, given.images, following)


def pad_pieces(
    pieces: Sequence[Piece], config: Config, store: ImageStore, *, rows: int, length: int
) -> Pieces:
    """Right-padded arrays of `rows` rows; the rows behind the last piece hold one token and mean nothing."""
    tokens = np.zeros((rows, length), np.int32)
    positions = np.zeros((3, rows, length), np.int32)
    image_slots = np.full((rows, length), TEXT, np.int32)
    lengths = np.ones(rows, np.int32)
    for i, piece in enumerate(pieces):
        n = lengths[i] = len(piece.tokens)
        tokens[i, :n], positions[:, i, :n] = piece.tokens, piece.positions
        if piece.images:
            image_slots[i, :n][piece.tokens == config.image_token_id] = store.rows(piece.images)
    return Pieces(tokens, positions, image_slots, lengths)


def pad_turns(
    turns: Sequence[tuple[int, Stream, int, int, int, TurnSettings]], *, rows: int, no_slot: int
) -> Turns:
    """Turns from (slot, stream, turn, position of the first sampled token, limit, settings), padded to `rows`."""
    filled = [*turns, *[(no_slot, *turns[-1][1:])] * (rows - len(turns))]
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return Turns(
        slots=np.int32([turn[0] for turn in filled]),
        streams=np.array([_numbers(stream, turn) for _, stream, turn, *_ in filled], np.uint32),
        positions=np.int32([turn[3] for turn in filled]),
        limits=np.int32([turn[4] for turn in filled]),
        settings=sampling_settings(
            rows, **{name: [getattr(turn[5], name) for turn in filled] for name in names}
        ),
    )


def _numbers(stream: Stream, turn: int) -> tuple[int, ...]:
    return stream.seed, stream.step, stream.example, stream.episode, turn
