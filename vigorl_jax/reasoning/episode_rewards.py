"""The reward of an episode: its transcript and its reference, both in the pixels that the model saw."""

import dataclasses
import functools
from collections.abc import Callable

from vigorl_jax.processing.frames import map_box
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import calls, rewards
from vigorl_jax.reasoning.calls import CallForm
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.gated_rewards import Context
from vigorl_jax.reasoning.rewards import Reward
from vigorl_jax.tasks import answers, catalog, web_grounding


def transcript(episode: Episode, tokenizer: Tokenizer) -> str:
    """The text that rewards read: all behind the opening, special tokens left out, as in the official code.

    Observations and the words "user" and "assistant" of the turn headers are part of it.
    """
    ids = [i for segment in episode.segments[1:] for i in segment.token_ids if i not in tokenizer.special_ids]
    return tokenizer.decode(ids)


def reference(episode: Episode) -> str:
    """The reference answer in the model's pixels: a box is scaled as the image was (B12), text stays as it is.

    With an image of 1920 x 1080 seen at 1932 x 1092, (960, 540, 980, 560) becomes (966, 546, 986, 566).
    """
    example = episode.example
    if catalog.get(example.task).reward_family != "point":
        return example.answer
    box = answers.box(example.answer) or (example.boxes[0] if example.boxes else None)
    if box is None:
        return example.answer
    return web_grounding.reference_text(map_box(box, episode.original, episode.views[0].frame))


def score(
    episode: Episode,
    tokenizer: Tokenizer,
    *,
    reward: str,
    preset: str = "published",
    form: CallForm = calls.POINT_CALL,
) -> Episode:
    """The episode with its reward by parts; see `scorer`."""
    return scorer(tokenizer, reward=reward, preset=preset, form=form)(episode)


def scorer(
    tokenizer: Tokenizer, *, reward: str, preset: str = "published", form: CallForm = calls.POINT_CALL
) -> Callable[[Episode], Episode]:
    """A function that gives a finished episode its reward by parts.

    Args:
      tokenizer: The model's.
      reward: One of `rewards.REWARDS`, or a user's own as file.py:function, which then has no preset; its file is
        loaded once, here.
      preset: One of `rewards.PRESETS`.
      form: Layout of the tool calls.

    Raises:
      ValueError: an unknown reward or preset, or a user's file that fails to load.
      FileNotFoundError: there is no such file.
    """
    if reward not in rewards.REWARDS:
        of_user = rewards.load(reward)
        return lambda episode: _rewarded(episode, tokenizer, of_user)
    rewards.load(reward, preset=preset)

    def score_one(episode: Episode) -> Episode:
        options = {"preset": preset, "context": context(episode, form)}
        return _rewarded(episode, tokenizer, functools.partial(rewards.score, reward, **options))

    return score_one


def _rewarded(episode: Episode, tokenizer: Tokenizer, reward: Reward) -> Episode:
    return dataclasses.replace(episode, reward=reward(transcript(episode, tokenizer), reference(episode)))


def context(episode: Episode, form: CallForm = calls.POINT_CALL) -> Context:
    """What the gated rewards know of an episode besides its text."""
    frame = episode.views[0].frame
    crop = episode.crops[0].frame if episode.crops else None
    return Context(
        choices=episode.example.choices,
        frame_size=(frame.width, frame.height),
        crop_size=(crop.width, crop.height) if crop else None,
        form=form,
    )
