"""Spatial questions (SAT-2, BLINK, RoboSpatial): choose the option that fits how things are arranged."""

from vigorl_jax.tasks import answers
from vigorl_jax.tasks.task import Task, ZoomPreset

# Evaluation limits the longest side to 1260 pixels: the window is a fifth of that, magnified twice (18 x 28 =
# 504). No dot: it would hide the object whose position is asked for. The official code has no multi-turn
# spatial run.
ZOOM = ZoomPreset(offset=126, side=504, dot=False)

TASK = Task(
    name="spatial",
    reward_family="text",
    zoom=ZOOM,
    goal="answer a question about where things are, how they relate or how they move, by choosing an option",
    inputs=(
        "The image is either a single picture or a pair of pictures joined side by side. With a pair, "
        "compare the left picture with the right one before you conclude anything.",
    ),
    reasoning=(),
    answer_rules=(
        "The answer is the exact text of the option that you choose: no letter before, no explanation after.",
    ),
    right_answer="behind the sofa",
    wrong_answer="(B) behind the sofa, because it is partly hidden",
    guidance=("If no option is clearly right, choose the one that agrees best with the spatial relations.",),
    read=answers.read_text,
    accuracy=answers.text_accuracy,
)
