"""Where a sampled turn ends: an automaton over tokens, built from stop strings in bytes and stop token ids.

Stop strings are sought in the bytes of the text, whatever way tokens cut them: an Aho-Corasick automaton over bytes
(Aho and Corasick 1975), stepped through the bytes of each token, gives one step per token. A token that completes a
stop ends the turn even if it has more bytes behind it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from vigorl_jax.array_typing import Array, Int, typed
from vigorl_jax.buckets import bucket

START = 0
# Room for `</tool_call>` and `</answer>` (23 states) twice over. In 8 bits, 64 states of the released vocabulary of
# 151,936 take 9.7 MB.
MIN_STATES = 64
MAX_STATES = 1 << 15

RowStates = Int[Array, "B"]


class StopTable(NamedTuple):
    """The automaton of a set of stops, as arrays whose shapes are those of most other sets too.

    transitions: the next state for each state and token; int8 up to 128 states, int16 beyond  # [states, V]
    accepting: the states in which a row has stopped; they are never left  # [states]
    """

    transitions: Int[Array, "_states V"] | Int[np.ndarray, "_states V"]
    accepting: Bool[Array, "_states"] | Bool[np.ndarray, "_states"]


def build(
    token_bytes: Sequence[bytes],
    stop_strings: Sequence[bytes],
    stop_token_ids: Sequence[int],
    *,
    vocab_size: int | None = None,
    least_states: int = MIN_STATES,
) -> StopTable:
    """The automaton that stops at any of the strings or ids, on the host; rows start in state START.

    Args:
      token_bytes: the bytes of each id. Empty bytes, those of ids without text, leave the search where it was.
      stop_strings: sought in the concatenated bytes.
      stop_token_ids: end a turn by themselves.
      vocab_size: columns of the table, the width of the logits; ids behind `token_bytes` have empty bytes.
      least_states: the table has at least as many rows, and beyond that a bucketed number of them, so that stops can
        be changed without compiling anything.

    Raises:
      TypeError: a stop string that is not bytes.
      ValueError: an empty stop string, one that no sequence of tokens spells, an id outside the vocabulary, or a
        vocabulary smaller than `token_bytes`, or more than 32,766 bytes of stop strings.
    """
    size = len(token_bytes) if vocab_size is None else vocab_size
    if size < len(token_bytes):
        raise ValueError(f"vocab_size {size} for {len(token_bytes)} tokens; give the width of the logits")
    outside = [token for token in stop_token_ids if not 0 <= token < size]
    if outside:
        raise ValueError(f"stop token ids {outside}; ids of this vocabulary are 0 to {size - 1}")
    if sum(map(len, stop_strings)) + 2 > MAX_STATES:
        raise ValueError(
            f"stop strings of {sum(map(len, stop_strings))} bytes; give {MAX_STATES - 2} at most"
        )
    tokens = _padded(token_bytes)
    for stop in stop_strings:
        _check_spelled(stop, tokens)
    byte_steps = _automaton(stop_strings)
    accept = len(byte_steps) - 1
    states = max(least_states, bucket(len(byte_steps)))
    # States that pad the table are never entered; they are filled with steps to START.
    transitions = np.zeros((states, size), np.int8 if states <= 128 else np.int16)
    transitions[: accept + 1] = np.arange(accept + 1)[:, None]
    transitions[: accept + 1, : len(token_bytes)] = _token_steps(byte_steps, tokens)
    transitions[: accept + 1, list(stop_token_ids)] = accept
    return StopTable(transitions, np.arange(states) == accept)


@typed
def advance(
    table: StopTable, states: RowStates, tokens: Int[Array, "B"]
) -> tuple[RowStates, Bool[Array, "B"]]:
    """The rows' states after one more token, and which rows have stopped, at this token or before."""
    states = jnp.asarray(table.transitions)[states, tokens].astype(states.dtype)
    return states, jnp.asarray(table.accepting)[states]


class _Tokens(NamedTuple):
    """Tokens as rows of bytes, ordered from the longest to the shortest."""

    values: np.ndarray  # uint8 [V, longest]
    order: np.ndarray  # id of each row  [V]
    longer: np.ndarray  # for each position, how many tokens have a byte there  [longest]


def _padded(token_bytes: Sequence[bytes]) -> _Tokens:
    lengths = np.fromiter(map(len, token_bytes), np.int64, len(token_bytes))
    order = np.argsort(-lengths, kind="stable")
    width = int(lengths.max(initial=0))
    joined = b"".join(token_bytes[i].ljust(width, b"\0") for i in order)
    values = np.frombuffer(joined, np.uint8).reshape(len(token_bytes), width)
    return _Tokens(values, order, (lengths[:, None] > np.arange(width)).sum(axis=0))


def _automaton(stop_strings: Sequence[bytes]) -> np.ndarray:
    """Next state for each state and byte; state 0 is the start, the last one accepts and is never left."""
    ends = tuple(stop_strings)
    prefixes = {stop[:n] for stop in stop_strings for n in range(1, len(stop) + 1)}
    # A text that ends in a stop has stopped: all such prefixes are the one accepting state.
    names = [b"", *sorted((p for p in prefixes if not p.endswith(ends)), key=len)]
    number = {name: state for state, name in enumerate(names)}
    accept = len(names)
    steps = np.full((accept + 1, 256), START, np.int16)
    steps[accept] = accept
    for state, name in enumerate(names):
        if name:
            # A byte that does not go on with this prefix goes on with its longest suffix that is one too.
            suffix = next(name[i:] for i in range(1, len(name) + 1) if name[i:] in number)
            steps[state] = steps[number[suffix]]
        for byte in range(256):
            if (text := name + bytes([byte])) in prefixes:
                steps[state, byte] = number.get(text, accept)
    return steps


def _token_steps(byte_steps: np.ndarray, tokens: _Tokens) -> np.ndarray:
    """Next state for each state and token."""
    count = len(tokens.order)
    states = np.repeat(np.arange(len(byte_steps), dtype=np.int16)[:, None], count, axis=1)
    for position, longer in enumerate(tokens.longer):
        states[:, :longer] = byte_steps[states[:, :longer], tokens.values[:longer, position]]
    by_id = np.empty_like(states)
    by_id[:, tokens.order] = states
    return by_id


def _check_spelled(stop: bytes, tokens: _Tokens) -> None:
    if not isinstance(stop, bytes):
        raise TypeError(f"stop string {stop!r} is no bytes; encode it")
    if not stop:
        raise ValueError("an empty stop string would stop before the first token; leave it out")
    steps = _token_steps(_automaton([stop]), tokens)
    reached, frontier = {START}, [START]
    while frontier:
        frontier = [int(state) for state in np.unique(steps[frontier]) if state not in reached]
        reached.update(frontier)
    if len(steps) - 1 not in reached:
        raise ValueError(f"stop string {stop!r} can never occur: no sequence of tokens spells it; correct it")
