"""Metrics on disk: lines that survive a kill, events that TensorBoard reads, runs that Weights & Biases continues."""

import pathlib
import struct
import sys
import types

import pytest

from vigorl_jax.runs import metrics_log
from vigorl_jax.runs.metrics_log import JsonLines, MetricsError, TensorBoard, WeightsAndBiases

LINES = '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n{"step": 3, "loss": 0.125}\n'


@pytest.mark.parametrize(
    ("step", "tail", "kept"),
    [(2, "", 2), (3, '{"step": 4, "lo', 3), (0, "", 0), (9, '{"step": 4, "loss": 1}', 3)],
)
def test_lines_of_lost_steps_and_half_a_line_are_cut(tmp_path, step, tail, kept):
    (tmp_path / "metrics.jsonl").write_text(LINES + tail)
    JsonLines(tmp_path, step).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(LINES.splitlines(keepends=True)[:kept])


def test_a_log_that_goes_on_is_the_log_of_a_run_that_was_not_killed(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(LINES)
    log = JsonLines(tmp_path, 1)
    log.write(2, {"loss": 0.25})
    log.write(3, {"loss": 0.125})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == LINES
    assert [line["loss"] for line in metrics_log.read(tmp_path / "metrics.jsonl")] == [0.5, 0.25, 0.125]


def test_a_number_that_is_not_finite_is_null(tmp_path):
    log = JsonLines(tmp_path, 0)
    log.write(1, {"loss": float("nan"), "ratio": float("inf"), "count": 3})
    log.close()
    assert (
        tmp_path / "metrics.jsonl"
    ).read_text() == '{"step": 1, "loss": null, "ratio": null, "count": 3}\n'


def test_a_metric_that_is_no_number_is_refused(tmp_path):
    log = JsonLines(tmp_path, 0)
    with pytest.raises(MetricsError, match=r"metric 'loss' is 'low'; wanted a number"):
        log.write(1, {"loss": "low"})
    log.close()


def events(path: pathlib.Path):
    """The events of a file: length, checksum, message, checksum, again and again."""
    from tensorboardX.proto import event_pb2

    data, start = path.read_bytes(), 0
    while start < len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        yield event_pb2.Event.FromString(data[start + 12 : start + 12 + length])
        start += 16 + length


def test_tensorboard_events_hold_each_metric_and_where_the_run_goes_on(tmp_path):
    log = TensorBoard(tmp_path, 4)
    log.write(5, {"time/roll out": 1.5, "loss": 0.25})
    log.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = list(events(path))
    scalars = {
        value.tag: (event.step, value.simple_value) for event in found for value in event.summary.value
    }
    assert scalars == {"time/roll_out": (5, 1.5), "loss": (5, 0.25)}
    # TensorBoard hides what earlier files say of this step and later ones.
    assert [event.step for event in found if event.HasField("session_log")] == [5]


def test_weights_and_biases_continues_the_run_of_the_work_directory(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(
        log=lambda metrics, step: calls.append((step, metrics)), finish=lambda: calls.append("finish")
    )
    ids = iter(["first", "second"])
    fake = types.SimpleNamespace(
        util=types.SimpleNamespace(generate_id=lambda: next(ids)),
        init=lambda **options: calls.append((options["id"], options["resume"])) or run,
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (1, 2):
        log = WeightsAndBiases(tmp_path, "vigorl", {"seed": 0})
        log.write(step, {"loss": 0.5})
        log.close()
    assert calls == [
        *[("first", "allow"), (1, {"loss": 0.5}), "finish"],
        *[("first", "allow"), (2, {"loss": 0.5}), "finish"],
    ]


def test_weights_and_biases_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        MetricsError, match=r"project 'p' needs the package wandb; pip install 'vigorl_jax\[wandb\]'"
    ):
        WeightsAndBiases(tmp_path, "p", {})


def test_late_metrics_join_the_last_line_of_their_step_alone(tmp_path):
    path = tmp_path / metrics_log.FILE_NAME
    metrics_log.amend(path, 1, {"a": 1.0})
    assert not path.exists()
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    metrics_log.amend(path, 1, {"a": 1.0})
    metrics_log.amend(path, 2, {"a": float("nan"), "b": 3})
    assert list(metrics_log.read(path)) == [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 1.0, "a": None, "b": 3},
    ]
