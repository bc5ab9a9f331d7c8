"""One self-contained HTML file for a set of episodes, to be filtered, sorted and read in any browser."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.report.cards import Card, make_card


def write_report(
    episodes: Sequence[Episode],
    path: str | Path,
    *,
    title: str = "Episodes",
    settings: ImageSettings | None = None,
) -> Path:
    """Writes the viewer.

    All text of models and data is escaped, and the page forbids every script but its own.

    Args:
      episodes: In the order in which they are shown at first.
      path: The HTML file; its folder is made if absent.
      title: Heading of the page.
      settings: The model's image settings.

    Returns:
      The path.

    Raises:
      ValueError: no episodes.
    """
    if not episodes:
        raise ValueError("a report of no episodes; roll some out first")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(render(episodes, title, settings or ImageSettings()), "utf-8", errors="replace")
    os.replace(partial, path)
    return path


def render(episodes: Sequence[Episode], title: str, settings: ImageSettings) -> str:
    """The page as text."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    store: dict[str, str] = {}
    cards = [make_card(episode, settings, store) for episode in episodes]
    script = _resource("page.js")
    return environment.from_string(_resource("page.html.jinja")).render(
        title=title,
        style=_resource("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        cards=cards,
        images=store,
        figures=_figures(cards),
        most_zooms=max(card.num_zooms for card in cards),
        statuses=sorted({card.status for card in cards}),
    )


def _resource(name: str) -> str:
    return resources.files("vigorl_jax.report").joinpath(name).read_text("utf-8")


def _figures(cards: Sequence[Card]) -> list[tuple[str, str]]:
    """The numbers at the head of the page."""
    count = len(cards)
    figures = [
        ("episodes", str(count)),
        ("examples", str(len({card.name.rpartition(" ")[0] for card in cards}))),
    ]
    for name in ("overall", "accuracy"):
        values = [dict(card.reward)[name] for card in cards if name in dict(card.reward)]
        if values:
            figures.append(("mean reward" if name == "overall" else name, f"{sum(values) / len(values):.2f}"))
    figures += [
        ("answered", f"{sum(card.answer is not None for card in cards) / count:.0%}"),
        ("turns each", f"{sum(len(card.turns) for card in cards) / count:.1f}"),
        ("zooms each", f"{sum(card.num_zooms for card in cards) / count:.1f}"),
        ("tokens each", f"{sum(card.num_tokens for card in cards) / count:,.0f}"),
    ]
    return figures
