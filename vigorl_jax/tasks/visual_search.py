"""Visual search (V*Bench, HR-Bench): a question about something small in a large image."""

from vigorl_jax.tasks import answers
from vigorl_jax.tasks.task import Task, ZoomPreset

# The setting of the official training, evaluation and data (reference behaviour 2.4).
ZOOM = ZoomPreset(offset=182, side=672, dot=False)

TASK = Task(
    name="visual_search",
    reward_family="text",
    zoom=ZOOM,
    goal="answer a question about an image, in which the thing that matters may be small or hard to find",
    inputs=("The user gives one image and one question, with or without options to choose from.",),
    reasoning=(
        "Let the regions be distinct quadrants, objects or zones of the image, and look widely first.",
        "Relate each step to the question and to the steps before it.",
    ),
    answer_rules=(
        "The answer is free text, as short as the question allows; when options are given, it is the exact "
        "text of one of them.",
    ),
    right_answer="dark green",
    wrong_answer="I believe that the umbrella is dark green",
    guidance=("If something stays unclear, infer the most likely answer from its surroundings.",),
    read=answers.read_text,
    accuracy=answers.text_accuracy,
)
