"""Rows as the releases write them, field by field, and the rows that must be refused."""

import json

import pytest

from vigorl_jax.datasets import choices
from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.layouts import episodes, options, released, screens
from vigorl_jax.datasets.layouts.layout import Keys, Place, without_placeholders
from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.samples import make_sample
from vigorl_jax.datasets.sources import Limits, open_source


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "web_grounding"
    (root / "data" / "images").mkdir(parents=True)
    (root / "data" / "images" / "a.png").write_bytes(b"A")
    (root / "b.png").write_bytes(b"B")

    def make(task="visual_search", file="data/set.jsonl", keys=None):
        tree = open_source([root], tmp_path)
        return Place(tree, file, f"{file}:3", task, keys or Keys())

    return make


def _reason(parse, row, place):
    with pytest.raises(RecordError) as refusal:
        parse(row, place)
    return refusal.value.reason


def test_image_paths_count_from_the_file_the_root_or_the_folder_above_it(place):
    assert place().image("images/a.png") == b"A"
    assert place().image("data/images/a.png") == b"A"
    assert place().image("b.png") == b"B"
    assert place().image("web_grounding/data/images/a.png") == b"A"
    assert place(file="data/b.jsonl").image("data/b.png") == b"B"
    assert place().image({"bytes": b"C", "path": None}) == b"C"
    assert place().image({"bytes": None, "path": "b.png"}) == b"B"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("../secret.png", "path_leaves_root"),
        ("/etc/passwd", "path_leaves_root"),
        ("https://host/a.png", "image_is_url"),
        ("none.png", "image_missing"),
        (3, "wrong_type"),
        ({"bytes": None, "path": None}, "wrong_type"),
    ],
)
def test_images_from_elsewhere_are_refused(place, value, reason):
    with pytest.raises(RecordError) as refusal:
        place().image(value)
    assert refusal.value.reason == reason


def test_an_rl_record(place):
    row = {
        "problem": "<image>Which?\nA. left",
        "answer": "left",
        "images": ["b.png"],
        "level": 2,
        "tags": ["x"],
    }
    draft = released.parse_rl(row, place())
    assert (draft.id, draft.question, draft.answer) == ("set.jsonl:3", "Which?\nA. left", "left")
    assert draft.images == (b"B",)
    assert draft.metadata == {"level": 2, "tags": '["x"]'}
    assert draft.boxes == ()


def test_rl_columns_may_have_other_names(place):
    row = {"q": "Which?", "a": "left", "image_paths": "b.png"}
    draft = released.parse_rl(row, place(keys=Keys("q", "a", "image_paths")))
    assert (draft.question, draft.answer, draft.images) == ("Which?", "left", (b"B",))


def test_the_answer_of_a_grounding_record_is_a_box(place):
    row = {"problem": "the button", "answer": "(10, 20, 30, 40)", "images": ["b.png"]}
    assert released.parse_rl(row, place("web_grounding")).boxes == ((10, 20, 30, 40),)
    assert _reason(released.parse_rl, {**row, "answer": "left"}, place("web_grounding")) == "wrong_type"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"problem": None}, "missing_key"),
        ({"answer": 3}, "wrong_type"),
        ({"images": None}, "missing_key"),
        ({"problem": "<image><image>two?"}, "placeholder_mismatch"),
        ({"problem": "<image>"}, "empty_text"),
        ({"images": ["../x"]}, "path_leaves_root"),
    ],
)
def test_wrong_rl_records_are_refused_by_name(place, change, reason):
    row = {"problem": "Which?", "answer": "left", "images": ["b.png"], **change}
    assert _reason(released.parse_rl, row, place()) == reason


def test_a_conversation(place):
    turns = [
        {"from": "human", "value": "<image>\nWhich?"},
        {"from": "gpt", "value": "<answer> right </answer>"},
    ]
    draft = released.parse_conversation({"id": 7, "image": "b.png", "conversations": turns}, place())
    assert (draft.id, draft.question, draft.answer) == ("7", "Which?", "right")
    one = {"id": 7, "image": "b.png", "conversations": turns[:1]}
    assert _reason(released.parse_conversation, one, place()) == "wrong_type"


def test_a_dialogue_keeps_its_messages(place):
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "<image>Where?"},
        {"role": "assistant", "content": "<think>x</think>"},
        {"role": "user", "content": "<image>crop"},
        {"role": "assistant", "content": "<answer>here</answer>"},
    ]
    draft = released.parse_dialogue({"messages": messages, "images": ["b.png", "b.png"]}, place())
    assert (draft.question, draft.answer, len(draft.images)) == ("Where?", "here", 2)
    assert json.loads(draft.metadata["messages"]) == messages


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": []}, "wrong_type"),
        ({"messages": [{"role": "user", "content": "<image><image>x"}]}, "placeholder_mismatch"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "wrong_type"),
        ({"messages": [{"role": "user", "content": "<image>x"}]}, "wrong_type"),
        (
            {
                "messages": [
                    {"role": "user", "content": "<image>x"},
                    {"role": "assistant", "content": "no block"},
                ]
            },
            "missing_key",
        ),
    ],
)
def test_wrong_dialogues_are_refused_by_name(place, change, reason):
    row = {"messages": [], "images": ["b.png"], **change}
    assert _reason(released.parse_dialogue, row, place()) == reason


def test_options_inside_a_question():
    assert options.split_options("What?\n(A) red\n(B) blue\nReply with a letter.") == (
        "What?",
        ("red", "blue"),
    )
    assert options.split_options("What\nnow?\nA. red\nB. blue") == ("What\nnow?", ("red", "blue"))
    assert options.split_options("What?\nA. red") == ("What?\nA. red", ())
    assert options.split_options("What?\nB. red\nC. blue") == ("What?\nB. red\nC. blue", ())


def test_hrbench_keeps_rotations_apart(place):
    row = {
        "index": 3,
        "question": "q",
        "A": "w",
        "B": "x",
        "C": "y",
        "D": "z",
        "answer": "C",
        "category": "single",
    }
    draft = options.parse_hrbench({**row, "cycle_category": "1", "image": "AAE="}, place())
    assert (draft.id, draft.answer, draft.images) == ("3_1", "y", (b"\0\1",))
    assert draft.metadata["answer_index"] == 2


def test_blink_hidden_answers_are_refused(place):
    row = {
        "idx": "t1",
        "sub_task": "Jigsaw",
        "question": "q",
        "image_1": {"bytes": b"1"},
        "choices": ["a", "b"],
    }
    assert options.parse_blink({**row, "answer": "(B)"}, place()).answer == "b"
    assert _reason(options.parse_blink, {**row, "answer": "hidden"}, place()) == "answer_not_a_choice"


def test_sat_answers_must_be_one_of_the_options(place):
    row = {
        "image_bytes": [b"1", b"2"],
        "question": "q",
        "answers": ["left", "right"],
        "question_type": "motion",
    }
    draft = options.parse_sat({**row, "correct_answer": "right"}, place())
    assert (draft.answer, draft.metadata["answer_index"], draft.images) == ("right", 1, (b"1", b"2"))
    assert _reason(options.parse_sat, {**row, "correct_answer": "up"}, place()) == "answer_not_a_choice"
    same = {**row, "answers": ["right", "right"], "correct_answer": "right"}
    assert _reason(options.parse_sat, same, place()) == "answer_not_a_choice"


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "[open('x')]", "(" * 5000, "'abc'", "[1]"])
def test_mmmu_options_are_read_as_data_only(place, text):
    row = {"id": "v1", "question": "q", "answer": "A", "image_1": {"bytes": b"1"}, "options": text}
    assert _reason(options.parse_mmmu, row, place()) == "wrong_type"


def test_mmmu_open_questions_have_no_options(place):
    row = {
        "id": "v1",
        "question": "How long is <image 1>?",
        "answer": "3",
        "image_1": {"bytes": b"1"},
        "options": "[]",
    }
    draft = options.parse_mmmu(row, place())
    assert (draft.choices, draft.answer, draft.question) == ((), "3", "How long is <image 1>?")


def test_vstar_lists_the_right_option_first(place):
    row = {
        "bbox": [[1, 2, 3, 4]],
        "question": "q",
        "options": ["red", "blue"],
        "image": "b.png",
        "target_object": ["x"],
    }
    draft = options.parse_vstar(row, place(file="direct_attributes/b.json"))
    assert (draft.id, draft.answer, draft.metadata["category"]) == (
        "direct_attributes/b",
        "red",
        "direct_attributes",
    )
    assert draft.boxes == ((1, 2, 3, 4),)
    assert options.parse_vstar({**row, "bbox": [1, 2, 3, 4]}, place()).boxes == ((1, 2, 3, 4),)


def test_the_original_vstar_layout_cannot_say_that_another_option_is_right(tmp_path):
    example = choices.rotate(make_sample(CATALOG["vstar"], tmp_path / "a", 1, seed=0, form=1)["test"][0], 1)
    with pytest.raises(SourceError, match="lists the right option first"):
        options.write_vstar([example], tmp_path / "b", "direct_attributes/x.json")


def test_robospatial_regions_stay_text(place):
    row = {"category": "context", "question": "q", "answer": "[(0.1, 0.2)]", "img": {"bytes": b"1"}}
    draft = options.parse_robospatial(row, place())
    assert (draft.id, draft.answer) == ("context_set.jsonl:3", "[(0.1, 0.2)]")


def test_screenspot_categories_name_platform_and_type(place):
    row = {"img_filename": "b.png", "bbox": [1, 2, 3, 4], "instruction": "close", "data_type": "icon"}
    draft = screens.parse_screenspot(row, place("web_grounding", "screenspot_mobile_v2.json"))
    assert (draft.metadata["category"], draft.answer, draft.boxes) == ("mobile/icon", None, ((1, 2, 3, 4),))
    assert _reason(screens.parse_screenspot, {**row, "bbox": [1, 2]}, place()) == "wrong_type"
    assert _reason(screens.parse_screenspot, {**row, "img_filename": "c.png"}, place()) == "image_missing"
    assert (
        _reason(screens.parse_screenspot, {**row, "img_filename": "../c.png"}, place()) == "path_leaves_root"
    )


def test_os_atlas_elements_become_rows(tmp_path):
    screens_file = [
        {"img_filename": "a.png", "elements": [{"instruction": "x", "bbox": [0, 0, 1, 1]}, "broken"]},
        {"img_filename": "b.png", "instruction": "y", "bbox": [0, 0, 1, 1]},
    ]
    (tmp_path / "x.json").write_text(json.dumps(screens_file))
    rows = list(screens.os_atlas_rows(open_source([tmp_path], tmp_path), "x.json", Limits()))
    assert [location for location, _ in rows] == ["x.json[0].0", "x.json[0].1", "x.json[1]"]
    assert rows[0][1]["img_filename"] == "a.png"
    assert rows[1][1].reason == "not_an_object"


def test_an_episode_keeps_its_segments_and_gives_all_images(place):
    segments = [
        {"kind": "given", "text": "q", "images": ["b.png"]},
        {"kind": "given", "text": "crop", "images": ["data/images/a.png"]},
    ]
    example = {"id": "x", "question": "q", "answer": "a", "boxes": [[1, 2, 3, 4]], "metadata": {"level": 2}}
    row = {"example": example, "segments": segments, "status": "answered"}
    draft = episodes.parse_episode(row, place(file="run1/episode.json"))
    assert (draft.id, draft.images, draft.boxes) == ("run1/x", (b"B", b"A"), ((1, 2, 3, 4),))
    assert (draft.metadata["status"], draft.metadata["level"]) == ("answered", 2)
    assert json.loads(draft.metadata["segments"]) == segments
    assert _reason(episodes.parse_episode, {**row, "segments": ["x"]}, place()) == "wrong_type"
    assert (
        _reason(episodes.parse_episode, {**row, "example": {**example, "metadata": 3}}, place())
        == "wrong_type"
    )


def test_image_marks_must_fit_the_images():
    assert without_placeholders("<image><image> both?", 2) == "both?"
    assert without_placeholders("none?", 2) == "none?"
    with pytest.raises(RecordError, match="1 <image> marks for 2 images"):
        without_placeholders("<image> one?", 2)
