"""How much one call may take: on CPUs so much that activations stay near the processor, elsewhere any number."""

import jax

# Patch slots of one call of the tower: calls of 10,240 took 1.3 times as long a slot as calls of 2,560 (0.6 M and 65 M
# parameters).
CPU_MAX_PATCHES = 4096
# Tokens of one call that reads given text.
CPU_MAX_TOKENS = 1024


def images_at_once(patch_slots: int) -> int | None:
    """How many images of a bucketed size one call of the tower may take on JAX's default backend; None for any."""
    return _at_once(CPU_MAX_PATCHES, patch_slots)


def rows_at_once(tokens: int) -> int | None:
    """How many rows of a bucketed length one call may read on JAX's default backend; None for any."""
    return _at_once(CPU_MAX_TOKENS, tokens)


def _at_once(limit: int, size: int) -> int | None:
    return max(1, limit // size) if jax.default_backend() == "cpu" else None
