"""Episodes to be taught, from what an example brings: a dialogue, one of our episodes, a scene, or an answer alone."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vigorl_jax.datasets.layouts.layout import PLACEHOLDER
from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot, Message
from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.frames import Frame, map_point
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import chains, prompts, turns, zoom
from vigorl_jax.reasoning.dialogue import open_dialogue
from vigorl_jax.reasoning.episode import Episode, Kind
from vigorl_jax.reasoning.episode_files import frame_from_json, from_json, view_of_file
from vigorl_jax.reasoning.messages import from_messages
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.reasoning.zoom import Source, View, open_source
from vigorl_jax.rollout import Plan
from vigorl_jax.runs.tiny_world import dialogues
from vigorl_jax.tasks import glyph_levels, glyph_search, tags
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_questions import pose

_POINT = re.compile(r"\s*\(\s*\d+\s*,\s*\d+\s*\)")


class Teacher:
    """From an example to the episode that is taught.

    Which one it is, the example's metadata say; the first that is there counts:
      segments: an episode that this project wrote; its ids are taught as they are.
      messages: a chat dialogue, such as the released chains; its images are those that the messages show.
      level: a scene of GlyphSearch, whose scripted teacher writes a dialogue.
      none of these: in the base condition, the reference answer alone.

    Args:
      plans: How episodes of each task are held.
      tokenizer: The model's.
      images: The model's image settings.
      keeps_system: Whether dialogues keep their own system message.
      keeps_points: Whether thoughts of dialogues keep their points.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        tokenizer: Tokenizer,
        images: ImageSettings,
        *,
        keeps_system: bool = False,
        keeps_points: bool = True,
    ):
        self._plans, self._tokenizer, self._images = plans, tokenizer, images
        self._keeps_system, self._keeps_points = keeps_system, keeps_points

    def __call__(self, example: Example) -> Episode:
        """The episode of an example.

        Raises:
          ValueError: an example that brings nothing to be taught, a dialogue that fits neither its images nor the
            limits, ids of another tokenizer, or an image that cannot be decoded.
        """
        plan = self._plans[example.task]
        if "segments" in example.metadata:
            episode = self._own(example)
        elif "messages" in example.metadata:
            episode = self._dialogue(example, plan)
        elif example.task == glyph_search.TASK.name and "level" in example.metadata:
            episode = self._scripted(example, plan)
        else:
            episode = self._answer(example, plan)
        limit = plan.rules.limits.max_tokens
        if episode.num_tokens > limit:
            raise ValueError(
                f"the episode on {example.id!r} has {episode.num_tokens} tokens, more than max_tokens {limit}"
            )
        return episode

    def _dialogue(self, example: Example, plan: Plan) -> Episode:
        stored = json.loads(example.metadata["messages"])
        if not self._keeps_system:
            stored = [message for message in stored if message["role"] != "system"]
            stored = [{"role": "system", "content": plan.rules.system}, *stored]
        if not self._keeps_points:
            stored = [_without_points(message) for message in stored]
        shown = sum(message["content"].count(PLACEHOLDER) for message in stored)
        if shown != len(example.images):
            raise ValueError(
                f"the dialogue of {example.id!r} shows {shown} images and has {len(example.images)}"
            )
        opening = sum(message["content"].count(PLACEHOLDER) for message in _before_reply(stored))
        views = self._stored_views(example, opening, plan, stored)
        tokens = iter([view.num_tokens for view in views])
        messages = [_message(message, tokens) for message in stored]
        asked = dataclasses.replace(example, images=example.images[:opening])
        return from_messages(asked, messages, views, self._tokenizer, plan.rules)

    def _stored_views(
        self, example: Example, opening: int, plan: Plan, stored: Sequence[Mapping[str, str]]
    ) -> list[View]:
        """The images as they are stored; those behind the opening with the window that their call asked for."""
        views = [self._source(data, plan).view for data in example.images]
        called = [message["content"] for message in stored if message["role"] == "assistant"]
        for number, text in zip(range(opening, len(views)), called, strict=False):
            window = _window(text, views[0].frame, plan)
            if window is not None:
                frame = dataclasses.replace(views[number].frame, window=window)
                views[number] = dataclasses.replace(views[number], frame=frame)
        return views

    def _own(self, example: Example) -> Episode:
        facts = example.metadata
        try:
            record = {**_known(example), **{name: json.loads(facts[name]) for name in ("segments", "frames")}}
            record |= {
                "status": facts["status"],
                "number": facts["number"],
                "reward_parts": json.loads(facts["reward_parts"]),
            }
            names = [name for segment in record["segments"] for name in segment["images"]]
            files = dict(zip(names, example.images, strict=True))
            frames = {name: frame_from_json(record["frames"][name]) for name in names}
            views = {name: view_of_file(files[name], frames[name], self._images) for name in names}
            episode = from_json(record, example.images[: len(record["segments"][0]["images"])], views)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{example.id!r} is not an episode ({type(error).__name__}: {error}); save it anew"
            ) from error
        _check_tokenizer(episode, self._tokenizer)
        return episode

    def _scripted(self, example: Example, plan: Plan) -> Episode:
        facts = example.metadata
        puzzle = pose(glyph_levels.get(facts["level"]), facts["seed"], facts["index"])
        chain = dialogues.scripted()(puzzle, np.random.default_rng((facts["seed"], facts["index"], 1)))
        texts = chains.write_replies(chain, plan.rules.condition, plan.rules.form)
        source = self._source(example.images[0], plan)
        rules = dataclasses.replace(plan.rules, forces_answer=False)
        dialogue = open_dialogue(example, [source.view], self._tokenizer, rules)
        for text in texts:
            action = dialogue.add_turn(chat.assistant_target(self._tokenizer, text))
            if isinstance(action, Zoom):
                dialogue.observe(zoom.cut(source, [(action, dialogue.crops)])[0])
        return dialogue.finish()

    def _answer(self, example: Example, plan: Plan) -> Episode:
        if plan.rules.condition is not Condition.BASE:
            raise ValueError(
                f"{example.id!r} brings an answer and no dialogue, which teaches the base condition only; "
                f"the condition is {plan.rules.condition}"
            )
        views = [self._source(data, plan).view for data in example.images]
        asked = (*(ImageSlot(view.num_tokens) for view in views), prompts.user_text(example))
        messages = [
            Message("system", (plan.rules.system,)),
            Message("user", asked),
            Message("assistant", (example.answer,)),
        ]
        return from_messages(example, messages, views, self._tokenizer, plan.rules)

    def _source(self, data: bytes, plan: Plan) -> Source:
        return open_source(decode_image(data), self._images, plan.zoom)


def _known(example: Example) -> dict[str, Any]:
    return {
        "example": {
            "id": example.id,
            "task": example.task,
            "question": example.question,
            "answer": example.answer,
            "choices": example.choices,
            "boxes": example.boxes,
        }
    }


def _check_tokenizer(episode: Episode, tokenizer: Tokenizer) -> None:
    """Ids are taught as they are stored, so they must mean the stored text."""
    for segment in episode.segments:
        if segment.kind is Kind.SAMPLED:
            ids = [index for index in segment.token_ids if index != tokenizer.control.im_end]
            if max(ids, default=0) >= tokenizer.vocab_size or tokenizer.decode(ids) != segment.text:
                raise ValueError(
                    f"the ids of the episode on {episode.example.id!r} are of another tokenizer; "
                    "roll it out with this model"
                )


def _message(message: Mapping[str, str], tokens: Iterator[int]) -> Message:
    """A chat message with a slot for each placeholder."""
    if message["role"] != "user":
        return Message(message["role"], (message["content"],))
    first, *rest = message["content"].split(PLACEHOLDER)
    parts = [first]
    for text in rest:
        parts += [ImageSlot(next(tokens)), text]
    return Message("user", tuple(part for part in parts if part != ""))


def _before_reply(stored: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    roles = [message["role"] for message in stored]
    return stored[: roles.index("assistant")]


def _window(text: str, image: Frame, plan: Plan) -> tuple[int, int, int, int] | None:
    """The window that a turn's point call asks for, in pixels of the stored original; None for other turns."""
    action = turns.parse(text, frame_size=image.size, form=plan.rules.form)
    if not isinstance(action, Zoom) or action.box is not None or action.image:
        return None
    original = Frame.original(*image.window[2:])
    point = map_point(action.point, image, original)
    return zoom.clamped_window(point, original.size, plan.zoom.preset.offset)


def _without_points(message: Mapping[str, str]) -> dict[str, str]:
    """An assistant's message without points in front of its answer."""
    if message["role"] != "assistant":
        return dict(message)
    thought, answer, rest = message["content"].partition(tags.opening(tags.ANSWER))
    return {**message, "content": _POINT.sub("", thought) + answer + rest}
