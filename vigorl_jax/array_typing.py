"""Array aliases with named dimensions, and the decorator that checks them.

Legend: B rows of a batch, G group, L tokens of a row, S cache slots, D width, H heads, K key-value heads,
C head dimension, F mlp width, V vocabulary, P patches, I images; in the vision tower N rows of R patch slots.
A dimension written `_name` is not checked for consistency; `...` stands for any leading dimensions.
"""

import jax
import numpy as np
from beartype import beartype
from jaxtyping import Float, Int, jaxtyped

Array = jax.Array

Scores = Float[Array, "..."]
Tokens = Int[Array, "B L"]
Positions = Int[Array, "3 B L"]
RowLengths = Int[Array, "B"]
ImageSlots = Int[Array, "B L"]
Hidden = Float[Array, "B L D"]
Logits = Float[Array, "B L V"]
ImageEmbeds = Float[Array, "_image_tokens D"]

Patches = Float[Array, "P _pixels"]
PatchHidden = Float[Array, "N R D"]
PatchSlots = Int[Array, "N R"]
PatchCoordinates = Int[Array, "N R 2"]

Queries = Float[Array, "B L H C"]
CachedHeads = Float[Array, "B K S C"]
Angles = Float[Array, "B L _half_head"]

HostTokens = Int[np.ndarray, "L"]
HostPositions = Int[np.ndarray, "3 L"]

typed = jaxtyped(typechecker=beartype)
