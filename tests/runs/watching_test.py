"""Clock, watchdog, health alarms, bad records, progress: what a run knows of itself."""

import io
import subprocess
import sys
import threading
import time

import pytest
from tqdm import tqdm

from vigorl_jax.runs import health
from vigorl_jax.runs.bad_records import BadRecords, BadRecordSettings, TooManyBadRecords
from vigorl_jax.runs.clock import BETWEEN, Clock
from vigorl_jax.runs.health import Health, HealthSettings
from vigorl_jax.runs.progress import Progress, share_terminal, summary, titled
from vigorl_jax.runs.watchdog import Watchdog


def test_seconds_belong_to_the_innermost_phase_and_add_up():
    """Roll-out 2 s, a reward of 3 s inside it, 4 s more of roll-out, 1 s outside, 5 s of learning."""
    seconds = 0.0
    clock = Clock(now=lambda: seconds)
    with clock.phase("roll out"):
        seconds += 2
        with clock.phase("reward"):
            seconds += 3
            assert clock.current.name == "reward"
        seconds += 4
    seconds += 1
    with clock.phase("learn"):
        seconds += 5
    assert clock.current.name == BETWEEN
    assert clock.lap() == {"roll out": 6, "reward": 3, "learn": 5, "step": 15}
    assert clock.lap() == {"step": 0}


def test_a_phase_that_fails_ends():
    clock = Clock()
    with pytest.raises(KeyError), clock.phase("learn"):
        raise KeyError
    assert clock.current.name == BETWEEN


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_the_watchdog_names_the_phase_that_stalls_once_and_writes_the_stacks(tmp_path):
    clock, said, go_on = Clock(), [], threading.Event()
    with Watchdog(clock, 0.1, tmp_path, said.append):
        for name in ("roll out", "learn"):
            with clock.phase(name):
                wait_for(lambda name=name: any(name in line for line in said))
                go_on.wait(0.5)
    assert [line.split(" has lasted")[0] for line in said] == ["stall: 'roll out'", "stall: 'learn'"]
    assert f"longer than 0.1 s; stacks in {tmp_path / 'stalls.txt'}" in said[0]
    stacks = (tmp_path / "stalls.txt").read_text()
    assert "'roll out' for 0." in stacks
    assert "test_the_watchdog_names_the_phase" in stacks


def test_the_watchdog_is_silent_where_phases_are_short(tmp_path):
    clock, said = Clock(), []
    with Watchdog(clock, 5.0, tmp_path, said.append):
        for _ in range(20):
            with clock.phase("learn"):
                time.sleep(0.01)
    assert said == []
    assert not (tmp_path / "stalls.txt").exists()


def test_the_watchdog_can_end_a_process_that_stalls(tmp_path):
    code = (
        "import pathlib, sys, time\n"
        "from vigorl_jax.runs.clock import Clock\n"
        "from vigorl_jax.runs.watchdog import Watchdog\n"
        "clock = Clock()\n"
        f"with Watchdog(clock, 0.1, pathlib.Path({str(tmp_path)!r}), print, exit_seconds=0.3):\n"
        "    with clock.phase('learn'):\n"
        "        time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "stall: 'learn' lasts 0 s; the process ends with status 1" in ended.stdout


def observe(values: dict[str, list[float | None]], **limits) -> tuple[list[dict], list[list[str]]]:
    """Flags and names of warnings, step by step."""
    settings = HealthSettings(window=2, **limits)
    watched = Health(health.rules(settings), settings.window)
    steps = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    results = [watched.observe(step) for step in steps]
    return [flags for flags, _ in results], [[line.split(":")[0] for line in lines] for _, lines in results]


@pytest.mark.parametrize(
    ("metric", "values", "alarm", "flags"),
    [
        ("zooms_per_episode", [2, 2, 1, 0, 0], "zooms_vanish", [None, 0, 0, 0, 1]),
        ("zooms_per_episode", [0, 0, 0, 0, 0], "zooms_vanish", [None, 0, 0, 0, 0]),
        ("zero_spread_share", [0.8, 0.8, 1, 1, 0.5], "no_spread", [None, 0, 0, 1, 0]),
        ("malformed_share", [0.1, 0.1, 0.2, 0.6, 0.6], "malformed_rises", [None, 0, 0, 1, 1]),
        ("entropy", [2, 2, 1, 0.1, 0.1], "entropy_collapses", [None, 0, 0, 0, 1]),
        ("entropy", [2, 2, 2, 8, 8], "entropy_explodes", [None, 0, 0, 0, 1]),
        ("sampler_gap/abs", [0.01, 0.01, 0.2, None, 0.2], "sampler_gap", [None, 0, 1, 1, 1]),
    ],
)
def test_an_alarm_compares_the_last_window_with_a_limit_or_with_the_first(metric, values, alarm, flags):
    """The windows are 2 steps; a step without the number leaves them as they are."""
    found, warnings = observe({metric: values})
    assert [step.get(f"health/{alarm}") for step in found] == flags
    assert sum(alarm in lines for lines in warnings) == (1 in flags)


def test_each_trouble_is_told_once_when_it_begins():
    _, warnings = observe({"zero_spread_share": [1, 1, 1, 0, 0, 1, 1, 1]})
    assert warnings == [[], ["no_spread"], [], [], [], [], ["no_spread"], []]


def test_a_metric_that_is_not_logged_raises_no_alarm():
    found, warnings = observe({"loss": [1.0, float("nan"), 2.0]})
    assert found == [{}, {}, {}]
    assert warnings == [[], [], []]


def refuse(reason: str):
    raise ValueError(reason)


def test_bad_records_are_skipped_counted_named_and_counted_on_after_a_resume():
    said = []
    records = BadRecords(BadRecordSettings(max_share=0.5, window=4), said.append)
    assert records.attempt("a", lambda: 5) == 5
    assert records.attempt("b", lambda: refuse("no image")) is None
    assert said == ["record 'b' is skipped: no image"]
    again = BadRecords(BadRecordSettings(max_share=0.5, window=4), said.append)
    again.restore(records.counters())
    assert again.counters() == {"seen": 2, "bad": 1, "names": ["b"]}


def test_too_many_bad_records_end_the_run():
    """A share of 0.5 of a window of 4 allows two, whatever the number seen; the third is too much."""
    records = BadRecords(BadRecordSettings(max_share=0.5, window=4), lambda line: None)
    for name in "ab":
        records.attempt(name, lambda: refuse("no image"))
    with pytest.raises(
        TooManyBadRecords,
        match=r"3 of 3 records cannot be used, more than a share of 0.5: a, b, c; the last: gone; mend the data",
    ):
        records.attempt("c", lambda: refuse("gone"))


def test_an_error_of_ours_is_not_a_bad_record():
    records = BadRecords(BadRecordSettings(), lambda line: None)
    with pytest.raises(ZeroDivisionError):
        records.attempt("a", lambda: 1 / 0)


def test_a_summary_says_headline_phases_rate_and_memory():
    metrics = {
        "loss": 0.51634,
        "entropy": 1.0,
        "time/roll out": 2.0,
        "time/learn": 1.0,
        "time/step": 3.1,
        "time/tokens_per_second": 812.4,
        "memory/host_peak": 3 << 29,
    }
    line = "loss 0.5163 | 3.1 s (roll out 2, learn 1) | 812 tokens/s | 1.5 GiB"
    assert summary(metrics, ("loss", "reward")) == line


def test_plain_lines_come_at_intervals_and_at_the_end_with_the_time_left():
    """Steps of 4 s, lines at most every 10 s: steps 1, 4, and the last, 6; 2 steps of 4 s are left after the 4th."""
    seconds, stream = 0.0, io.StringIO()
    progress = Progress(6, 0, ("loss",), every_seconds=10, stream=stream, now=lambda: seconds)
    for number in range(1, 7):
        seconds += 4
        progress.step(number, {"loss": number})
    progress.close()
    assert stream.getvalue().splitlines() == [
        "step 1/6: loss 1",
        "step 4/6: loss 4 | 00:08 left",
        "step 6/6: loss 6",
    ]


def test_a_terminal_gets_a_bar_that_begins_where_the_run_goes_on():
    stream = io.StringIO()
    stream.isatty = lambda: True
    progress = Progress(4, 2, ("loss",), stream=stream)
    progress.step(3, {"loss": 0.5})
    progress.say("a word")
    progress.close()
    assert "3/4" in stream.getvalue()
    assert "loss 0.5" in stream.getvalue()
    assert "\ra word\x1b[K\n" in stream.getvalue()


def test_lines_and_bars_of_what_is_titled_begin_with_the_title():
    stream = io.StringIO()
    with titled("imitation"):
        progress = Progress(2, 0, ("loss",), stream=stream)
        progress.step(1, {"loss": 0.5})
    progress.say("a word")
    assert stream.getvalue().splitlines() == ["imitation: step 1/2: loss 0.5", "a word"]
    stream.isatty = lambda: True
    with titled("imitation"):
        Progress(4, 2, ("loss",), stream=stream).close()
    assert "imitation:  50%" in stream.getvalue()


def test_processes_that_share_a_terminal_draw_bars_in_rows_of_their_own():
    stream, lock = io.StringIO(), threading.RLock()
    stream.isatty = lambda: True
    before = tqdm.get_lock()
    try:
        share_terminal(2, lock)
        Progress(4, 2, ("loss",), stream=stream).close()
        assert tqdm.get_lock() is lock
    finally:
        share_terminal(0, before)
    assert stream.getvalue().startswith("\n\n\r")
