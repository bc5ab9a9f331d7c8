"""Processes that run the toy job."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from immutabledict import immutabledict

from vigorl_jax.processing.frames import Frame
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.turns import Answer
from vigorl_jax.reasoning.zoom import make_view
from vigorl_jax.runs.metrics_log import MACHINE_PREFIXES
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing import toy_run
from vigorl_jax.testing.models import tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, random_image
from vigorl_jax.testing.toy_run import Toy

NO_REWARD = immutabledict()


@dataclasses.dataclass
class Process:
    """A toy run in a process of its own."""

    toy: Toy
    output: pathlib.Path
    handle: multiprocessing.Process

    def send(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.handle.pid, number)

    def wait_until_it_hangs(self) -> None:
        """Returns when the job is in the long roll-out, `Toy.hang_at`."""
        hangs = pathlib.Path(self.toy.workdir).with_name("hangs")
        while not hangs.exists():
            assert self.handle.is_alive(), self.output.read_text()
            time.sleep(0.01)

    def end(self, status: int = 0) -> str:
        """Waits for the end with that status (a negative one is a signal); returns standard error."""
        self.handle.join()
        text = self.output.read_text()
        assert self.handle.exitcode == status, text
        return text


@pytest.fixture(scope="session")
def _server():
    # Children begin with these imports done: seconds each on a busy machine.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["vigorl_jax.testing.toy_run", "vigorl_jax.testing.tiny_run", "orbax.checkpoint", "tensorboardX"]
    )
    return server


@pytest.fixture
def begin(_server, tmp_path) -> Callable[..., Process]:
    """Starts a process; arguments are fields of `Toy`; `workdir` defaults to one for the test."""
    started = []

    def start(**fields) -> Process:
        toy = Toy(**{"workdir": str(tmp_path / "run"), **fields})
        output = tmp_path / f"{len(started)}.txt"
        handle = _server.Process(target=toy_run.run, args=(toy, str(output)))
        started.append(handle)
        handle.start()
        return Process(toy, output, handle)

    yield start
    for handle in started:
        if handle.is_alive():
            os.kill(handle.pid, signal.SIGKILL)
        handle.join()


def reproducible_metrics(workdir: pathlib.Path) -> list[dict]:
    """The lines of `metrics.jsonl` without what depends on the machine."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if not name.startswith(MACHINE_PREFIXES)}
        for line in lines
    ]


@pytest.fixture
def metrics_of() -> Callable[[pathlib.Path], list[dict]]:
    """See `reproducible_metrics`."""
    return reproducible_metrics


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    """make_episode(id, number=0, reward={}, status=...) makes an episode of one answered turn of `sampled` tokens."""
    patches = random_image(np.random.default_rng(0), (1, 4, 4)).patches
    view = make_view(Frame.original(56, 56), patches, IMAGE_SETTINGS)
    config = tiny_config()
    ids = [config.vision_start_token_id, *[config.image_token_id] * 4, config.vision_end_token_id, 65]
    opening = Segment(Kind.GIVEN, tuple(ids), "What?", (view,))

    def make(name: str, *, number=0, reward=NO_REWARD, status=Status.ANSWERED, sampled=5) -> Episode:
        turn = Segment(
            Kind.SAMPLED,
            tuple(range(40, 40 + sampled)),
            "red",
            log_probs=(-1.0,) * sampled,
            action=Answer("red"),
        )
        example = Example(name, "visual_search", "What?", "red", (b"png",))
        return Episode(example, (opening, turn), status, number, reward)

    return make
