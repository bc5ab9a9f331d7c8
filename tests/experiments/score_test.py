"""Scoring reward cases offline, as a library call and as a command."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from vigorl_jax.reasoning import reward_cases

ROOT = pathlib.Path(__file__).parents[2]
THOUGHT = "<think> A lamp near (10, 20). </think>\n"
GOOD = {"reward": "text_grounded", "prediction": f"{THOUGHT}<answer> left </answer>", "answer": "left"}


def write(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def run(*flags):
    command = [sys.executable, "-m", "experiments.score", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_writes_one_line_of_scores_per_case_in_order(tmp_path):
    cases = write(
        tmp_path / "cases.jsonl",
        GOOD,
        {"reward": "point_vanilla", "prediction": "(150, 60)", "answer": "(0, 0, 100, 100)"},
        GOOD | {"answer": "Left", "note": "published: capitals never match"},
        "",
        GOOD | {"answer": "Left", "preset": "gated"},
        {
            "reward": "action_vanilla",
            "prediction": f"{THOUGHT}<answer>click [1]</answer>",
            "answer": "click [2]",
        },
    )
    result = run(f"--reward_cases={cases}", "--output", tmp_path / "new" / "scores.jsonl")
    assert result.returncode == 0, result.stderr
    assert "Scored 5 cases" in result.stdout
    lines = (tmp_path / "new" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"overall": 1.0, "format": 1.0, "accuracy": 1.0},
        {"overall": 0.0, "format": 0.0, "accuracy": 0.0},
        {"overall": 0.5, "format": 1.0, "accuracy": 0.0},
        {"overall": 1.0, "format": 1.0, "accuracy": 1.0},
        {"overall": 0.75, "format": 1.0, "accuracy": 0.5},
    ]


def test_the_command_names_the_bad_line_and_writes_nothing(tmp_path):
    cases = write(tmp_path / "cases.jsonl", GOOD, GOOD | {"reward": "text"})
    output = tmp_path / "scores.jsonl"
    result = run(f"--reward_cases={cases}", f"--output={output}")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        f"score: {cases}, line 2: unknown reward 'text'; choose one of point_vanilla"
    )
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["cases.jsonl"]


def test_the_command_needs_both_flags_and_a_file_that_exists(tmp_path):
    missing = run("--reward_cases=cases.jsonl")
    assert missing.returncode != 0
    assert "--output" in missing.stderr
    absent = run(f"--reward_cases={tmp_path / 'absent.jsonl'}", f"--output={tmp_path / 'scores.jsonl'}")
    assert absent.returncode == 1
    assert "No such file" in absent.stderr
    assert "Traceback" not in absent.stderr


def _own_reward(folder, body):
    path = folder / "mine.py"
    path.write_text(f"def score(predict_str, ground_truth):\n    {body}\n")
    return path


def test_a_reward_of_ones_own_scores_every_case_whatever_it_names(tmp_path):
    cases = write(
        tmp_path / "cases.jsonl",
        GOOD,
        {"prediction": "lift", "answer": "left"},
        {"prediction": "", "answer": ""},
    )
    same = _own_reward(
        tmp_path,
        "return {'overall': len(predict_str), 'format': 1, 'accuracy': int(predict_str[:1] == ground_truth[:1])}",
    )
    result = run(f"--reward_cases={cases}", f"--output={tmp_path / 'scores.jsonl'}", f"--reward={same}:score")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()] == [
        {"overall": len(GOOD["prediction"]), "format": 1.0, "accuracy": 0.0},
        {"overall": 4.0, "format": 1.0, "accuracy": 1.0},
        {"overall": 0.0, "format": 1.0, "accuracy": 1.0},
    ]


def test_a_reward_of_ours_for_the_whole_file_keeps_the_presets_of_its_lines(tmp_path):
    case = {"prediction": GOOD["prediction"], "answer": "Left"}
    cases = write(
        tmp_path / "cases.jsonl", case, case | {"preset": "gated"}, case | {"reward": "point_vanilla"}
    )
    output = tmp_path / "scores.jsonl"
    assert reward_cases.score_file(cases, output, "text_grounded") == 3
    assert [json.loads(line)["overall"] for line in output.read_text().splitlines()] == [0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("other", "return {}", "mine.py defines no function 'other'; name one as "),
        (
            "score",
            "return 1.0",
            r"line 2: the reward cannot be used: .*mine\.py:score returned float; return a dict",
        ),
        ("score", "return {'overall': 1}", "line 2: .* returned no format, accuracy; return a dict such as"),
        ("score", "raise KeyError('mine')", "line 2: .* cannot be used: KeyError: 'mine'"),
        ("score", "return [", "The reward file .*mine.py failed to load: SyntaxError"),
    ],
)
def test_a_reward_of_ones_own_that_cannot_be_used_is_refused(tmp_path, name, body, message):
    cases = write(tmp_path / "cases.jsonl", "", GOOD)
    path = _own_reward(tmp_path, body)
    with pytest.raises(ValueError, match=message):
        reward_cases.score_file(cases, tmp_path / "scores.jsonl", f"{path}:{name}")
    assert sorted(os.listdir(tmp_path)) == ["cases.jsonl", "mine.py"]


def test_the_command_says_in_one_line_that_there_is_no_such_function(tmp_path):
    cases, path = write(tmp_path / "cases.jsonl", GOOD), _own_reward(tmp_path, "return {}")
    result = run(
        f"--reward_cases={cases}", f"--output={tmp_path / 'scores.jsonl'}", f"--reward={path}:absent"
    )
    assert result.returncode == 1
    assert result.stderr == f"score: {path} defines no function 'absent'; name one as {path}:function.\n"


def test_a_file_of_cases_cannot_name_code_to_run(tmp_path):
    path = _own_reward(tmp_path, "return {'overall': 1, 'format': 1, 'accuracy': 1}")
    cases = write(tmp_path / "cases.jsonl", GOOD | {"reward": f"{path}:score"})
    with pytest.raises(ValueError, match=r"line 1: unknown reward .* --reward=file\.py:function"):
        reward_cases.score_file(cases, tmp_path / "scores.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a line of JSON"),
        ("[" * 100_000, "line 2: not a line of JSON"),
        ("[1]", "line 2: expected a JSON object, got list"),
        (
            {"reward": "text_vanilla", "answer": "left"},
            "line 2: the key 'prediction' must hold a string, got None",
        ),
        (GOOD | {"answer": 3}, "line 2: the key 'answer' must hold a string, got 3"),
        (GOOD | {"preset": None}, "line 2: the key 'preset' must hold a string"),
        (GOOD | {"preset": "strict"}, "line 2: unknown preset 'strict'; choose published or gated"),
    ],
)
def test_each_bad_line_is_named_with_its_fault(tmp_path, line, message):
    cases = write(tmp_path / "cases.jsonl", GOOD, line)
    with pytest.raises(ValueError, match=message):
        reward_cases.score_file(cases, tmp_path / "scores.jsonl")


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    cases = write(tmp_path / "cases.jsonl", GOOD)
    cases.write_bytes(cases.read_bytes() + b'{"reward": "\xff"}\n')
    with pytest.raises(ValueError, match="line 2: not a line of JSON"):
        reward_cases.score_file(cases, tmp_path / "scores.jsonl")


def test_an_earlier_output_survives_a_bad_line(tmp_path):
    output = write(tmp_path / "scores.jsonl", {"overall": 1.0})
    cases = write(tmp_path / "cases.jsonl", GOOD, "{")
    with pytest.raises(ValueError, match="line 2"):
        reward_cases.score_file(cases, output)
    assert output.read_text() == '{"overall": 1.0}\n'
    assert sorted(os.listdir(tmp_path)) == ["cases.jsonl", "scores.jsonl"]


def test_any_text_that_json_can_hold_is_scored(tmp_path):
    strange = "\x00\ud800</answer>\u2028"
    cases = write(tmp_path / "cases.jsonl", GOOD | {"prediction": strange, "answer": strange})
    assert reward_cases.score_file(cases, tmp_path / "scores.jsonl") == 1
