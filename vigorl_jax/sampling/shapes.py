"""The shapes that a sampler compiles: declared before the first compile, few, and printed."""

import dataclasses
import itertools
from collections.abc import Iterator

ROW_STEP = 4  # row counts go 1, 4, 16, ... or from `least_rows` on
MAX_PADDING = 1 / 3  # a call is padded by at most this part of its rows; more are cut into several calls
READ_FRACTIONS = (4, 2, 1)  # attention reads a quarter, a half or the whole of the cache

# Where sharing prompts pays, by decode steps of 32 rows on a CPU (0.6 M parameters). In groups of 8, copies take 1.05
# times as long at 64 tokens, 1.2 at 160, 1.4 at 512; in groups of 4, 1.1 at 160; in groups of 2, 1.0 at 160.
MIN_SHARED_TOKENS, MIN_SHARING_ROWS = 64, 4


def shares_prompts(prompt_length: int, group: int) -> bool:
    """Whether groups of this size should read one copy of prompts of this length: `prefixes` > 0 in Shapes."""
    return prompt_length >= MIN_SHARED_TOKENS and group >= MIN_SHARING_ROWS


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Sizes of a sampler's arrays; everything that is compiled follows from them and from the sizes of images.

    Attributes:
      slots: rows that are decoded together.
      cache: tokens that a row can hold, prompt included (without the prompt, where prefixes are shared).
      prompt_lengths: ascending; a prompt is padded to the first that holds it.
      extend_lengths: the same for what is given after a turn, with the one sampled token before it.
      image_tokens: embeddings of images that are kept.
      chunk: largest number of decode steps between two looks from the host.
      max_images: images of one episode.
      prefixes: prompts whose cache is kept once and read by all rows of their group; 0 gives each row its own copy.
      group: rows that may share one such prompt.
      least_read: tokens of the cache that a call reads at least; short caches are then read whole, and compile less.
      least_rows: rows of a call at least, most of them padding where a few are read; of small models, few programs are
        worth more than short calls.
      repetition_penalty: keep, for each row, which tokens it has seen; without it a penalty is refused.
    """

    slots: int
    cache: int
    prompt_lengths: tuple[int, ...]
    extend_lengths: tuple[int, ...]
    image_tokens: int
    chunk: int = 16
    max_images: int = 8
    prefixes: int = 0
    group: int = 1
    least_read: int = 1
    least_rows: int = 1
    repetition_penalty: bool = False

    def __post_init__(self):
        for name in ("slots", "cache", "chunk", "least_read", "least_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}; wanted at least 1")
        for name in ("prompt_lengths", "extend_lengths"):
            lengths = getattr(self, name)
            if list(lengths) != sorted(set(lengths)) or (lengths and lengths[0] < 1):
                raise ValueError(f"{name} {lengths}; wanted ascending lengths of at least 1")
        if not self.prefixes and self.prompt_lengths[-1] > self.cache:
            raise ValueError(
                f"the longest prompt, {self.prompt_lengths[-1]}, does not fit the cache of {self.cache} tokens a row; "
                "enlarge the cache or drop the length"
            )

    @property
    def row_counts(self) -> tuple[int, ...]:
        """1, 4, 16, ... (or from `least_rows` on) and the number of slots: the numbers of rows of one call."""
        counts = []
        count = self.least_rows
        while count < self.slots:
            counts.append(count)
            count *= ROW_STEP
        return (*counts, self.slots)

    @property
    def reads(self) -> tuple[int, ...]:
        """How much of each row's cache a call may read."""
        parts = (-(-self.cache // fraction) for fraction in READ_FRACTIONS)
        return tuple(sorted({min(self.cache, max(self.least_read, part)) for part in parts}))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Tokens of the blocks in which a row's cache lies: each of `reads` ends with one."""
        return tuple(end - start for start, end in itertools.pairwise((0, *self.reads)))

    def read(self, tokens: int) -> int:
        """The smallest of `reads` that covers `tokens`."""
        return next(read for read in self.reads if read >= tokens)

    def batches(self, rows: int, *, most: int | None = None) -> Iterator[tuple[int, int]]:
        """Cuts `rows` rows into calls of at most `most`, if that is possible: pairs of (rows taken, rows padded to)."""
        least = self.row_counts[0]
        counts = [count for count in self.row_counts if most is None or count <= max(least, most)]
        while rows:
            below = max((count for count in counts if count <= rows), default=least)
            above = min((count for count in counts if count >= rows), default=below)
            size = above if above - rows <= MAX_PADDING * rows else below
            yield min(rows, size), size
            rows -= min(rows, size)

    def lines(self) -> list[str]:
        """What will be compiled at most, one line a function."""
        rows = ", ".join(map(str, self.row_counts))
        return [
            f"slots {self.slots}, cache {self.cache} tokens a row, {self.prefixes} shared prompts",
            f"prefill: rows ({rows}) x tokens {self.prompt_lengths}",
            f"place: rows ({rows}) for each prefill",
            f"extend: rows ({rows}) x tokens {self.extend_lengths} x cache read {self.reads}",
            f"decode: {self.slots} rows x up to {self.chunk} steps x cache read {self.reads}",
            f"images: ({rows}) images of equal bucketed size; {self.image_tokens} embeddings kept",
        ]
