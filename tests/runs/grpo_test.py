"""Steps of GRPO on scripted roll outs: dynamic sampling, several updates, overlap, metrics; no model runs."""

import contextlib
import types

import numpy as np
import pytest

from vigorl_jax.runs import fields, grpo
from vigorl_jax.runs.grpo import GrpoJob, Lesson
from vigorl_jax.runs.rating import Rating
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.testing import tiny_run


class _Source:
    """Examples 0, 1, 2, ..."""

    def __init__(self):
        self.position = {"next": 0}

    def take(self, count):
        first = self.position["next"]
        self.position = {"next": first + count}
        return list(range(first, first + count))

    def restore(self, position):
        self.position = dict(position)


class _Roller:
    """Groups of two episodes on each example; `spread` says on which the rewards differ."""

    def __init__(self, make_episode, spread):
        self._make, self._spread = make_episode, spread
        self.opened, self.steps = [], []

    def open(self, params, seen=None):
        self.opened.append(params)
        return params

    def roll(self, sampler, examples, *, step, **_):
        self.steps.append((step, tuple(examples)))
        return [[self._make(str(one), number=number) for number in range(2)] for one in examples]

    def score(self, groups):
        def scored(episode):
            reward = {"overall": float(episode.number), "accuracy": 0.0, "format": 0.0}
            if not self._spread(int(episode.example.id)):
                reward["overall"] = 0.5
            return self._make(episode.example.id, number=episode.number, reward=reward)

        return [[scored(episode) for episode in group] for group in groups]


class _Learner:
    """Counts updates; its parameters are their number."""

    encodes_wholly = True

    def __init__(self):
        self.learned = []

    def params(self, state):
        return {"w": np.array(state.count)}

    def update(self, state, batches, images, *, old=None, reference=None):
        self.learned.append((batches, old))
        state = types.SimpleNamespace(count=state.count + 1, consecutive_skipped=0, skipped=0)
        return state, {
            "loss": float(len(batches)),
            "learning_rate": 0.1 * state.count,
            "sampler_gap/abs": 0.25,
        }


class _Job(GrpoJob):
    """Lessons are the names of their episodes."""

    def _lesson(self, rated, frame, seen):
        return Lesson([one.episode.example.id for one in rated], None)


@pytest.fixture
def make_job(make_episode):
    """make_job(spread, **values) makes a job of four examples a step."""

    def make(spread=lambda number: True, **values):
        given = {"zoom_offset": 56, "zoom_side": 56, "zoom_dot": False, **values}
        run = fields.build(GrpoRun, {**tiny_run.VALUES, "workdir": "unused", **given})
        policy = types.SimpleNamespace(params={"w": np.zeros(1)}, images=None)
        bad = types.SimpleNamespace(bad=0, counters=dict)
        job = _Job(
            run, _Roller(make_episode, spread), Rating(run.advantages, 10),
            types.SimpleNamespace(policy=policy), _Learner(), _Source(), bad, None,
        )  # fmt: skip
        job.state = types.SimpleNamespace(count=0, consecutive_skipped=0, skipped=0)
        return job

    return make


@pytest.fixture
def frame():
    """A frame that neither shows nor stops anything."""
    clock = types.SimpleNamespace(phase=lambda name: contextlib.nullcontext())
    return types.SimpleNamespace(clock=clock, check=lambda: None, begin_update=lambda: None, stopping=False)


def test_dynamic_sampling_replaces_groups_of_equal_rewards_by_further_ones(make_job, frame):
    job = make_job(spread=lambda number: number % 2 == 1, dynamic_sampling=True)
    metrics = job.step(1, frame)
    # Of 0 to 3 two groups are kept; 4 and 5 bring one more, 6 none, 7 the last: three further rolls at most.
    assert job._roller.steps == [(1, (0, 1, 2, 3)), (1, (4, 5)), (1, (6,)), (1, (7,))]
    assert job.learner.learned[0][0] == ["1", "1", "3", "3", "5", "5", "7", "7"]
    assert (metrics["groups_rolled"], metrics["zero_spread_share"]) == (8, 0.5)
    assert job.source.position == {"next": 8}


def test_dynamic_sampling_goes_on_with_fewer_groups_in_the_end(make_job, frame):
    job = make_job(spread=lambda number: number == 1, dynamic_sampling=True, max_extra_rolls=2)
    metrics = job.step(1, frame)
    assert job.learner.learned[0][0] == ["1", "1"]
    assert metrics["groups_rolled"] == 4 + 3 + 3


def test_a_step_without_anything_to_learn_makes_no_update(make_job, frame):
    job = make_job(spread=lambda number: False, dynamic_sampling=True, max_extra_rolls=1)
    metrics = job.step(1, frame)
    assert (metrics["updates"], metrics["episodes_learned"], job.learner.learned) == (0, 0, [])
    assert metrics["zero_spread_share"] == 1


def test_updates_take_equal_parts_in_order_and_epochs_repeat_them(make_job, frame):
    job = make_job(updates_per_step=2, epochs_per_step=2)
    metrics = job.step(1, frame)
    parts = [batches for batches, _ in job.learner.learned]
    assert parts == [["0", "0", "1", "1"], ["2", "2", "3", "3"]] * 2
    assert metrics["updates"] == 4
    assert metrics["learning_rate"] == pytest.approx(0.4)  # of the last
    assert metrics["sampler_gap/abs"] == 0.25


def test_metrics_bear_the_names_that_alarms_and_frame_look_for(make_job, frame):
    metrics = make_job().step(1, frame)
    wanted = (
        "zooms_per_episode",
        "zero_spread_share",
        "malformed_share",
        "sampler_gap/abs",
        "consecutive_skipped",
        "tokens",
    )
    assert set(wanted) <= set(metrics)
    assert metrics["tokens"] == 8 * (7 + 5)
    assert metrics["reward/overall"] == 0.5


def test_a_validation_that_a_signal_cuts_short_is_made_when_the_run_goes_on(make_job, frame, tmp_path):
    """Its numbers join the line of its own step, as if nothing had happened."""
    job, file = make_job(validate_every=1, validation_at_start=False), tmp_path / "metrics.jsonl"
    validated = []

    def validate(params, number, check):
        check()
        validated.append((number, int(params["w"])))
        return {"validation/accuracy": 0.5}, []

    job._validator, job.write_page = validate, lambda *_: None
    frame.workdir, frame.say, frame.stopping = tmp_path, lambda line: None, True
    assert "validation/accuracy" not in job.step(1, frame)
    file.write_text('{"step": 1, "loss": 8.0}\n')
    frame.stopping = False
    assert job.step(2, frame)["validation/accuracy"] == 0.5
    assert file.read_text() == '{"step": 1, "loss": 8.0, "validation/accuracy": 0.5}\n'
    assert validated == [(1, 1), (2, 2)]


def test_overlap_samples_each_step_with_the_parameters_before_the_last_update(make_job, frame):
    job = make_job(overlap=True, importance_cap=2.0, num_steps=4)
    for number in range(1, 5):
        job.step(number, frame)
    assert [int(params["w"]) for params in job._roller.opened] == [0, 0, 1, 2]
    assert [step for step, _ in job._roller.steps] == [1, 2, 3, 4]
    assert job._ahead is None


def test_parts_are_runs_as_equal_as_can_be():
    assert grpo._parts(list("abcde"), 2) in ([["a", "b"], ["c", "d", "e"]], [["a", "b", "c"], ["d", "e"]])
    assert grpo._parts(list("ab"), 3) == [["a"], [], ["b"]]
