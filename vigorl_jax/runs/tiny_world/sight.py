"""The tower's first lessons, without words: from each merged token a linear map tells which signs are there, and where.

Questions in words teach a tower little while the language model cannot find the token that they are about, and it
cannot find it before the tower tells signs apart. Here every token is taught at once. The map is thrown away, but for
one part of it that is the language model's own: the words of a name are told by their embeddings, so that what a tower
says of a sign resembles the words for it.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vigorl_jax.array_typing import Array
from vigorl_jax.processing.patches import normalise, pack_patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.runs.tiny_world import lexicon, model
from vigorl_jax.runs.tiny_world.lessons import made_ahead
from vigorl_jax.runs.tiny_world.views import Picture
from vigorl_jax.tasks import glyph_drawing
from vigorl_jax.tasks.glyph_levels import COLOURS, LETTERS, SHAPES, TOKEN, Level
from vigorl_jax.tasks.glyph_scenes import Sign
from vigorl_jax.training.optimiser import OptimiserSettings, optimiser

# Tokens without a sign are easy and many: together they weigh as much as a few signs.
_ABSENT, _NO_LETTER, _PLACE = 0.1, 0.2, 0.5
_NOT_ASKED = -1
# The words of names, and which of them each name is made of  # [S, W]
WORDS = (*COLOURS, *SHAPES)
_SAID = np.array([[word in name.split() for word in WORDS] for name in lexicon.NAMES])


@functools.cache
def word_ids() -> np.ndarray:
    """The token of each of `WORDS`, as it stands behind a space."""
    tokenizer = model.tokenizer()
    return np.array([token for word in WORDS for token in tokenizer.encode_with_tool_tags(f" {word}")])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sights:
    """Pictures of one size with what is to be told of each merged token; U tokens a picture, S names.

    Attributes:
      images: what the tower takes.
      slots: rows of the tower's output  # [I, U]
      present: whether the middle of the sign of a name is in the token  # [I, U, S]
      columns, rows: of that middle, in steps of 28 pixels of the original, -1 where it is not asked  # [I, U, S]
      letters: 1 + the letter that stands in the token whole, 0 for none, -1 where it is not asked  # [I, U]
    """

    images: PatchBatch
    slots: Array
    present: Array
    columns: Array
    rows: Array
    letters: Array


def look(
    overviews: Sequence[Picture], closer: Sequence[Picture], config: Config, settings: ImageSettings
) -> Sights:
    """Overviews, of which names and places are asked, and closer views, of which names and letters are."""
    pictures = [*overviews, *closer]
    patches = [view.patches for _, view in pictures]
    layout = patch_layout([part.grids[0] for part in patches], config.vision)
    packed = normalise(pack_patches(patches, length=layout.source.size), settings)
    shape = (len(pictures), pictures[0][1].num_tokens)
    present = np.zeros((*shape, len(lexicon.NAMES)), np.bool_)
    columns = np.full((*shape, len(lexicon.NAMES)), _NOT_ASKED, np.int32)
    rows, letters = columns.copy(), np.full(shape, _NOT_ASKED, np.int32)
    letters[len(overviews) :] = 0
    for number, (scene, view) in enumerate(pictures):
        for sign in scene.signs:
            token, name = _token(sign, view), lexicon.NAMES.index(sign.name)
            if token is None:
                continue
            present[number, token, name] = True
            if number < len(overviews):
                columns[number, token, name], rows[number, token, name] = (at // TOKEN for at in sign.centre)
            else:
                letters[number, token] = _letter(sign, view)
    return Sights(
        PatchBatch.from_layout(packed, layout), np.stack(layout.token_slots), present, columns, rows, letters
    )


def _token(sign: Sign, view: View) -> int | None:
    """The token of a view in which the middle of a sign lies, raster by raster; None if it is outside."""
    (x, y), (x0, y0, x1, y1) = sign.centre, view.frame.window
    if not (x0 <= x < x1 and y0 <= y < y1):
        return None
    across, down = view.frame.width // TOKEN, view.frame.height // TOKEN
    return (y - y0) * down // (y1 - y0) * across + (x - x0) * across // (x1 - x0)


def _letter(sign: Sign, view: View) -> int:
    (left, top, *_), (x0, y0, x1, y1), plate = sign.box, view.frame.window, glyph_drawing.PLATE
    whole = x0 <= left + plate[0] and y0 <= top + plate[1] and left + plate[2] <= x1 and top + plate[3] <= y1
    return 1 + LETTERS.index(sign.letter) if whole else _NOT_ASKED


def teach(
    params: Params,
    config: Config,
    level: Level,
    make: Callable[[int], Sights],
    *,
    steps: int,
    settings: OptimiserSettings,
    on_step: Callable[[int, Mapping[str, float]], None],
) -> Params:
    """Parameters whose tower has learned `make(0)`, `make(1)`, ...: an update each.

    `on_step` is told "loss", and the shares of signs found by name, placed in the right column and row, and of letters
    read, in the batch before the update.
    """
    columns, rows = (side // TOKEN for side in level.canvas)
    learned = {
        "visual": jax.tree.map(jnp.copy, params["visual"]),
        "told": _linear_maps(config, columns, rows),
        "words": jnp.zeros(len(WORDS)),
    }
    rest = {name: value for name, value in params.items() if name != "visual"}
    rule = optimiser(settings)
    state = rule.init(learned)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(learned, state, sights):
        gradient, metrics = jax.grad(_loss, has_aux=True)(learned, rest, config, sights)
        updates, state = rule.update(gradient, state, learned)
        return optax.apply_updates(learned, updates), state, metrics

    for step, sights in enumerate(made_ahead(make, steps), 1):
        learned, state, metrics = update(learned, state, sights)
        on_step(step, {name: float(value) for name, value in jax.device_get(metrics).items()})
    return {**rest, "visual": learned["visual"]}


def _linear_maps(config: Config, columns: int, rows: int) -> Params:
    """What is thrown away, with equal odds for everything at first."""
    width = config.vision.out_width
    sizes = {
        "names": len(lexicon.NAMES),
        "columns": len(lexicon.NAMES) * columns,
        "rows": len(lexicon.NAMES) * rows,
        "letters": 1 + len(LETTERS),
    }
    return {
        name: {"kernel": jnp.zeros((width, size)), "bias": jnp.zeros(size)} for name, size in sizes.items()
    }


def _loss(learned: Params, rest: Params, config: Config, sights: Sights) -> tuple[Array, dict[str, Array]]:
    embeds = bind(config, {**rest, "visual": learned["visual"]}).visual(sights.images)[sights.slots]
    told = {name: embeds @ one["kernel"] + one["bias"] for name, one in learned["told"].items()}
    present, names = sights.present, told["names"]
    found = present & (names > 0)
    across, column = _choice(told["columns"].reshape(*present.shape, -1), sights.columns)
    down, row = _choice(told["rows"].reshape(*present.shape, -1), sights.rows)
    misread, letter = _choice(told["letters"], sights.letters)
    said = (present[..., None] & _SAID).any(-2)
    words = embeds @ rest["language_model"]["embed"]["embedding"][word_ids()].T + learned["words"]
    shown, placed = sights.letters > 0, sights.columns >= 0
    misread = misread * jnp.where(shown, 1.0, _NO_LETTER)
    loss = (
        _missed(names, present)
        + _missed(words, said)
        + _PLACE * (across + down).sum() / placed.sum()
        + misread.sum() / shown.sum()
    )
    return loss, {
        "loss": loss,
        "found": found.sum() / present.sum(),
        "placed": (column & row).sum() / placed.sum(),
        "read": (letter & shown).sum() / shown.sum(),
    }


def _missed(logits: Array, present: Array) -> Array:
    """Cross-entropy of presence, a sign's share of it."""
    loss = jax.nn.softplus(jnp.where(present, -logits, logits))
    return (loss * jnp.where(present, 1.0, _ABSENT)).sum() / present.sum()


def _choice(logits: Array, wanted: Array) -> tuple[Array, Array]:
    """Cross-entropy of each choice, 0 where it is not asked, and whether it is right."""
    log_probs = jax.nn.log_softmax(logits)
    loss = -(jax.nn.one_hot(wanted, logits.shape[-1]) * log_probs).sum(-1)
    return loss, logits.argmax(-1) == wanted
