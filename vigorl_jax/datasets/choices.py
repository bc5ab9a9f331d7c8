"""Other orders for the options of a multiple-choice example, recorded in the example.

V*Bench lists the right option first, so its original order rewards a model that likes the letter A; HR-Bench
counters this with cyclic rotations. `metadata["answer_index"]` names the right option, also where two options
read the same.
"""

import dataclasses
import hashlib
import random
from collections.abc import Sequence

from vigorl_jax.tasks.example import Example


def shuffle(example: Example, seed: int) -> Example:
    """The example with its options in a random order that depends on the seed and the example's id only.

    The metadata gain `choice_seed` and `choice_order` (old index of each option, such as `2,0,1`).

    Raises:
      ValueError: no options, or no `answer_index` that says which is right.
    """
    digest = hashlib.sha256(f"{seed}/{example.id}".encode()).digest()
    order = list(range(len(example.choices)))
    random.Random(int.from_bytes(digest)).shuffle(order)
    mixed = reorder(example, order)
    return dataclasses.replace(mixed, metadata=_with(mixed, choice_seed=seed))


def rotate(example: Example, steps: int) -> Example:
    """The example with its options moved round: one step puts the last option first.

    Raises:
      ValueError: as `shuffle`.
    """
    count = max(len(example.choices), 1)
    return reorder(example, [(index - steps) % count for index in range(len(example.choices))])


def reorder(example: Example, order: Sequence[int]) -> Example:
    """The example with option `order[k]` at place k.

    Raises:
      ValueError: as `shuffle`, or `order` is no permutation of the options.
    """
    index = example.metadata.get("answer_index")
    if not example.choices or not isinstance(index, int):
        raise ValueError(
            f"Example {example.id!r} has no options with an answer_index; only those can be reordered."
        )
    if sorted(order) != list(range(len(example.choices))):
        raise ValueError(
            f"{list(order)} is not an order of the {len(example.choices)} options of {example.id!r}."
        )
    choices = tuple(example.choices[old] for old in order)
    metadata = _with(example, answer_index=list(order).index(index), choice_order=",".join(map(str, order)))
    return dataclasses.replace(example, choices=choices, metadata=metadata)


def _with(example: Example, **facts: str | int) -> dict:
    return {**example.metadata, **facts}
