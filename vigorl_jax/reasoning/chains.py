"""Chains of thoughts written as turns, whoever thought them: the scripted teacher today, tree search tomorrow."""

from vigorl_jax.reasoning import calls, turns
from vigorl_jax.reasoning.calls import CallForm, Zoom
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.tasks.chain import Chain


def write_turns(chain: Chain, form: CallForm = calls.POINT_CALL) -> list[str]:
    """The assistant's turns of a multi-turn episode: a zoom at the point of each thought, then the answer.

    Args:
      chain: The thoughts, with points in pixels of the image as the model sees it.
      form: A layout of calls that takes points.
    """
    zooms = [turns.write_zoom(thought.text, Zoom(thought.point), form) for thought in chain.thoughts]
    return [*zooms, turns.write_answer(chain.conclusion, chain.answer)]


def write_single_turn(chain: Chain) -> str:
    """The same thoughts in one turn without zooms: one think block, one thought a line, then the answer."""
    thoughts = [thought.text for thought in chain.thoughts]
    return turns.write_answer("\n".join([*thoughts, chain.conclusion]), chain.answer)


def write_replies(chain: Chain, condition: Condition, form: CallForm = calls.POINT_CALL) -> list[str]:
    """The assistant's turns in a condition: with zooms, with points, with the conclusion alone, or the bare answer."""
    match condition:
        case Condition.MULTITURN:
            return write_turns(chain, form)
        case Condition.GROUNDED:
            return [write_single_turn(chain)]
        case Condition.VANILLA:
            return [turns.write_answer(chain.conclusion, chain.answer)]
        case Condition.BASE:
            return [chain.answer]
