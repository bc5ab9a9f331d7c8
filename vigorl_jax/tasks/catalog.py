"""All tasks by name."""

from vigorl_jax.tasks import glyph_search, spatial, visual_search, web_action, web_grounding
from vigorl_jax.tasks.task import Task

CATALOG: dict[str, Task] = {
    task.name: task
    for task in (spatial.TASK, visual_search.TASK, web_grounding.TASK, web_action.TASK, glyph_search.TASK)
}


def get(name: str) -> Task:
    """The task of this name.

    Raises:
      ValueError: there is no such task; the message lists those there are.
    """
    if name not in CATALOG:
        raise ValueError(f"Unknown task {name!r}; choose one of {', '.join(CATALOG)}.")
    return CATALOG[name]
