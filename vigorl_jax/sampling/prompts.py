"""Prompts in flight: each is read once, kept while rows wait for it, and shared among the rows of its group."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.sampling.call_sizes import rows_at_once
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.pieces import Piece, make_piece, pad_pieces
from vigorl_jax.sampling.requests import Given
from vigorl_jax.sampling.sampler import Prefilled, Sampler
from vigorl_jax.sampling.slots import Slots

NOT_SHARED = -1


class PromptBook:
    """Which prompts have been prefilled, and which rows share which of them."""

    def __init__(self, sampler: Sampler):
        self._sampler = sampler
        self._pieces: dict[Hashable, Piece] = {}
        self._prefilled: dict[Hashable, tuple[Prefilled, int]] = {}
        self._keys: list[Hashable | None] = [None] * sampler.shapes.prefixes
        self._stored: set[int] = set()
        self._rows: list[list[int]] = [[] for _ in self._keys]  # slots that share each prompt

    def piece(self, prompt: Given, name: str) -> Piece:
        """The checked prompt; equal prompts are checked once."""
        key = prompt.key
        if key not in self._pieces:
            self._pieces[key] = make_piece(prompt, self._sampler.config, start=0, pending=None, name=name)
        return self._pieces[key]

    def enter(self, key: Hashable, slot: int) -> bool:
        """Makes room for one more row behind a prompt; False when no shared prompt can take it now."""
        if not self._keys:
            return True
        group = self._sampler.shapes.group
        for index, rows in enumerate(self._rows):
            if self._keys[index] == key and len(rows) < group:
                rows.append(slot)
                return True
        for index, rows in enumerate(self._rows):
            if not rows:
                self._keys[index] = key
                self._stored.discard(index)
                rows.append(slot)
                return True
        return False

    def leave(self, slot: int) -> None:
        """Ends a row's use of its prompt."""
        for rows in self._rows:
            if slot in rows:
                rows.remove(slot)

    def shared(self, slot: int) -> int:
        """Index of the shared prompt of the row in this slot, NOT_SHARED when it holds its own copy."""
        return next((index for index, rows in enumerate(self._rows) if slot in rows), NOT_SHARED)

    def members(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """See `SharedPrefix`: rows of each shared prompt [N, G] and the place of each row [B]; None without them."""
        if not self._keys:
            return None, None
        group = self._sampler.shapes.group
        members = np.zeros((len(self._keys), group), np.int32)
        places = np.full(self._sampler.shapes.slots, NOT_SHARED, np.int32)
        for index, rows in enumerate(self._rows):
            members[index, : len(rows)] = rows
            places[rows] = index * group + np.arange(len(rows))
        return members, places

    def prefilled(self, key: Hashable) -> tuple[Prefilled, int]:
        """The call that read a prompt, and the prompt's row in it."""
        return self._prefilled[key]

    def read(
        self, prompts: Mapping[Hashable, Piece], params: Params, images: ImageStore, slots: Slots
    ) -> tuple[Slots, list[Hashable]]:
        """Prefills those of the prompts that are not kept and stores those to be shared; returns what was read."""
        lengths = self._sampler.shapes.prompt_lengths
        new = [key for key in prompts if key not in self._prefilled]
        by_length: dict[int, list[Hashable]] = {}
        for key in new:
            length = next(length for length in lengths if length >= len(prompts[key].tokens))
            by_length.setdefault(length, []).append(key)
        for length, keys in by_length.items():
            for portion in images.portions(keys, lambda key: prompts[key].images):
                for taken, rows in self._sampler.shapes.batches(len(portion), most=rows_at_once(length)):
                    self._prefill(
                        {key: prompts[key] for key in portion[:taken]}, params, images, rows, length
                    )
                    del portion[:taken]
        return self._store_shared(slots, prompts), new

    def forget_all_but(self, keys: Iterable[Hashable]) -> None:
        """Lets go of the caches of prompts for which no row waits."""
        kept = set(keys)
        self._prefilled = {key: value for key, value in self._prefilled.items() if key in kept}
        self._pieces = {key: value for key, value in self._pieces.items() if key in kept}

    def _prefill(
        self, prompts: Mapping[Hashable, Piece], params: Params, images: ImageStore, rows: int, length: int
    ) -> None:
        images.add(params, [image for piece in prompts.values() for image in piece.images])
        pieces = pad_pieces(list(prompts.values()), self._sampler.config, images, rows=rows, length=length)
        prefilled = self._sampler.prefill(params, images.embeds, pieces)
        self._prefilled.update({key: (prefilled, i) for i, key in enumerate(prompts)})

    def _store_shared(self, slots: Slots, keys: Iterable[Hashable]) -> Slots:
        """Copies each prompt into the places that were opened for it, one call for each prefill and copy."""
        pending = [
            i for i, key in enumerate(self._keys) if key in keys and self._rows[i] and i not in self._stored
        ]
        while pending:
            call: dict[int, int] = {}
            prefilled: Any = self._prefilled[self._keys[pending[0]]][0]
            for index in pending:
                source = self._prefilled[self._keys[index]]
                if source[0] is prefilled and source[1] not in call:
                    call[source[1]] = index
            targets = np.full(len(prefilled.lengths), len(self._keys), np.int32)
            targets[list(call)] = list(call.values())
            slots, _ = self._sampler.share(slots, prefilled, targets)
            self._stored.update(call.values())
            pending = [index for index in pending if index not in self._stored]
        return slots
