"""The benchmark binary lists its suites, and the harness times both sides in turn."""

import json

from experiments.benchmarks import timing


def test_sides_are_timed_in_turn_after_one_warm_up_each():
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in ("ours", "peer")}
    times = timing.paired(sides, repetitions=2)
    assert calls == ["ours", "peer"] * 3
    assert times["ours"]["ratio_to_first"] == 1
    assert times["peer"]["median_ms"] >= times["peer"]["min_ms"] > 0


def test_an_unknown_suite_is_refused_with_the_known_ones(run_binary):
    result = run_binary("benchmark", "--suite=nonsense")
    assert result.returncode == 1
    assert "backbone" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_machine_is_described_in_json():
    assert {"processor", "cores", "device", "jax", "torch"} <= set(json.loads(json.dumps(timing.machine())))
