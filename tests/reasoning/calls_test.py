"""The tool call: what is read, what is refused and under which name, and that writing is the inverse."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.reasoning import calls
from vigorl_jax.reasoning.calls import MalformedKind, Zoom, parse_call
from vigorl_jax.tasks import tags

SIZE = (1000, 800)


def payload(coordinate, **extra):
    return json.dumps({"name": "search_coordinate", "arguments": {"coordinate": coordinate, **extra}})


def refused(content, **options):
    result = parse_call(content, **options)
    assert isinstance(result, calls.Malformed), result
    return result


@pytest.mark.parametrize(
    ("coordinate", "point"),
    [
        ([310, 745], (310, 745)),
        ([0, 0], (0, 0)),
        ([999, 799], (999, 799)),
        ([50.0, 60.4], (50, 60)),
        ([999.6, 799.9], (999, 799)),
    ],
)
def test_a_point_inside_the_image_is_a_zoom(coordinate, point):
    assert parse_call(payload(coordinate), frame_size=SIZE) == Zoom(point)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("x" * 1001, MalformedKind.TOO_LONG),
        ("[" * 500, MalformedKind.TOO_DEEP),
        (payload([[1], 2]), MalformedKind.TOO_DEEP),
        ("look there", MalformedKind.NOT_JSON),
        ("", MalformedKind.NOT_JSON),
        (payload([1, 2]) + " and", MalformedKind.NOT_JSON),
        (payload([1, 2]).replace('"', "'"), MalformedKind.NOT_JSON),
        (payload([1, 2]).replace("1", "01"), MalformedKind.NOT_JSON),
        (payload([1, 2]).replace("1", "NaN"), MalformedKind.NOT_FINITE),
        (payload([1, 2]).replace("1", "-Infinity"), MalformedKind.NOT_FINITE),
        (payload([1, 2]).replace("1", "1e999"), MalformedKind.NOT_FINITE),
        ('{"name": "search_coordinate", "name": "a", "arguments": {}}', MalformedKind.DUPLICATE_KEY),
        (payload([1, 2]).replace("{", '{"a": {"b": 1, "b": 2}, ', 1), MalformedKind.DUPLICATE_KEY),
        ("[1, 2]", MalformedKind.WRONG_KEYS),
        ("3", MalformedKind.WRONG_KEYS),
        ('{"name": "search_coordinate"}', MalformedKind.WRONG_KEYS),
        (payload([1, 2]).replace("{", '{"id": 1, ', 1), MalformedKind.WRONG_KEYS),
        (payload([1, 2], radius=5), MalformedKind.WRONG_KEYS),
        ('{"name": "search_coordinate", "arguments": {}}', MalformedKind.WRONG_KEYS),
        ('{"name": "search_coordinate", "arguments": [1, 2]}', MalformedKind.WRONG_KEYS),
        (payload([1, 2]).replace("search_coordinate", "crop"), MalformedKind.UNKNOWN_TOOL),
        ('{"name": ["search_coordinate"], "arguments": {}}', MalformedKind.UNKNOWN_TOOL),
        (payload([1, 2, 3]), MalformedKind.NOT_A_POINT),
        (payload([1]), MalformedKind.NOT_A_POINT),
        (payload([True, 2]), MalformedKind.NOT_A_POINT),
        (payload(["1", "2"]), MalformedKind.NOT_A_POINT),
        (payload([None, 2]), MalformedKind.NOT_A_POINT),
        (payload({"x": 1}), MalformedKind.NOT_A_POINT),
        (payload("1, 2"), MalformedKind.NOT_A_POINT),
        (payload([1000, 2]), MalformedKind.OUT_OF_FRAME),
        (payload([1, 800]), MalformedKind.OUT_OF_FRAME),
        (payload([-1, 2]), MalformedKind.OUT_OF_FRAME),
        (payload([-0.2, 2]), MalformedKind.OUT_OF_FRAME),
        (payload([10**400, 2]), MalformedKind.OUT_OF_FRAME),
    ],
)
def test_each_fault_has_its_own_name(content, kind):
    assert refused(content, frame_size=SIZE).kind is kind


def test_brackets_inside_strings_do_not_count_as_depth():
    form = calls.CallForm(ignored_keys=("label",))
    assert parse_call(payload([1, 2], label='[[[[ \\" {{{'), form=form) == Zoom((1, 2))


def test_without_a_frame_size_only_impossible_points_are_out_of_frame():
    assert parse_call(payload([5000, 2])) == Zoom((5000, 2))
    assert refused(payload([-1, 2])).kind is MalformedKind.OUT_OF_FRAME
    assert refused(payload([10**6, 2])).kind is MalformedKind.OUT_OF_FRAME


def test_a_refused_but_readable_call_is_handed_on():
    assert refused(payload([2500, 400]), frame_size=SIZE).zoom == Zoom((2500, 400))
    assert refused(payload([-300, 400]), frame_size=SIZE).zoom == Zoom((-300, 400))
    assert refused(payload([105, 100]), earlier_points=[(100, 100)]).zoom == Zoom((105, 100))
    assert refused(payload([10**9, 400]), frame_size=SIZE).zoom is None


def test_the_reason_says_what_is_wrong_with_the_size_of_the_image():
    reason = refused(payload([1000, 2]), frame_size=SIZE).reason
    assert reason == "The coordinates lie outside the image, which is 1000 x 800 pixels."


@pytest.mark.parametrize(
    ("point", "is_repeat"), [([107, 107], True), ([109, 100], True), ([110, 100], False), ([300, 300], False)]
)
def test_a_point_closer_than_ten_pixels_to_an_earlier_one_is_a_repeat(point, is_repeat):
    result = parse_call(payload(point), frame_size=SIZE, earlier_points=[(500, 500), (100, 100)])
    assert (getattr(result, "kind", None) is MalformedKind.REPEATED_POINT) is is_repeat


def test_reasons_never_quote_the_model():
    tagged = '{"name": "</observation><answer>", "arguments": {"</think>": [1, 2]}}'
    for content in (tagged, tagged.replace("</observation><answer>", "search_coordinate"), "</tool_call>"):
        assert "<" not in refused(content).reason


def test_boxes_are_read_in_pixels():
    def box(*numbers):
        return json.dumps(
            {"name": "image_zoom_in_tool", "arguments": {"bbox_2d": list(numbers), "label": "a lamp"}}
        )

    assert parse_call(box(10, 20, 110, 60), frame_size=SIZE, form=calls.BOX_CALL) == Zoom(
        (60, 40), (10, 20, 110, 60)
    )
    whole = parse_call(box(0, 0, 1000, 800), frame_size=SIZE, form=calls.BOX_CALL)
    assert whole == Zoom((500, 400), (0, 0, 1000, 800))
    thin = parse_call(box(10.2, 20, 10.4, 60), frame_size=SIZE, form=calls.BOX_CALL)
    assert thin.box == (10, 20, 11, 60)
    for numbers, kind in [
        ((110, 20, 10, 60), MalformedKind.NOT_A_BOX),
        ((10, 20, 10, 60), MalformedKind.NOT_A_BOX),
        ((10, 20), MalformedKind.NOT_A_BOX),
        ((10, 20, 1001, 60), MalformedKind.OUT_OF_FRAME),
    ]:
        assert refused(box(*numbers), frame_size=SIZE, form=calls.BOX_CALL).kind is kind


def test_a_box_repeats_an_earlier_one_when_both_corners_are_near():
    earlier = [(10, 20, 110, 60)]
    for box, kind in [((12, 22, 112, 62), MalformedKind.REPEATED_POINT), ((10, 20, 60, 40), None)]:
        content = json.dumps({"name": "image_zoom_in_tool", "arguments": {"bbox_2d": box}})
        result = parse_call(content, frame_size=SIZE, earlier_points=earlier, form=calls.BOX_CALL)
        assert getattr(result, "kind", None) is kind


def test_fractions_become_pixels_of_the_image_named():
    def call(box, image):
        arguments = {"bbox_2d": box, "target_image": image}
        return json.dumps({"name": "crop_image_normalized", "arguments": arguments})

    def read(box, image):
        form = calls.FRACTIONAL_BOX_CALL
        return parse_call(call(box, image), frame_size=SIZE, crop_sizes=[(504, 504)], form=form)

    assert read([0.1, 0.5, 1, 1], 0) == Zoom((550, 600), (100, 400, 1000, 800))
    assert read([0, 0, 0.5, 0.5], 1) == Zoom((126, 126), (0, 0, 252, 252), image=1)
    assert read([0, 0, 1.1, 0.5], 0).kind is MalformedKind.OUT_OF_FRAME
    assert read([0, 0, 1, 1], 2).kind is MalformedKind.UNKNOWN_IMAGE
    assert read([0, 0, 1, 1], -1).kind is MalformedKind.UNKNOWN_IMAGE
    assert read([0, 0, 1, 1], True).kind is MalformedKind.UNKNOWN_IMAGE
    assert read([0, 0, 1, 1], 10**30).kind is MalformedKind.UNKNOWN_IMAGE
    with pytest.raises(ValueError, match=r"need frame_size=\(width, height\) to become pixels"):
        parse_call(call([0, 0, 1, 1], 0), form=calls.FRACTIONAL_BOX_CALL)


def test_an_earlier_crop_can_be_zoomed_into_where_the_form_allows_it():
    form = calls.POINT_IN_ANY_IMAGE_CALL
    inside = parse_call(payload([500, 500], image=1), frame_size=SIZE, crop_sizes=[(504, 504)], form=form)
    assert inside == Zoom((500, 500), image=1)
    beyond = refused(payload([600, 500], image=1), frame_size=SIZE, crop_sizes=[(504, 504)], form=form)
    assert beyond.kind is MalformedKind.OUT_OF_FRAME
    assert parse_call(payload([600, 500]), frame_size=SIZE, form=form) == Zoom((600, 500))
    assert refused(payload([600, 500], image=1), frame_size=SIZE).kind is MalformedKind.WRONG_KEYS


def test_zooms_into_crops_are_not_compared_with_points_of_the_original():
    form = calls.POINT_IN_ANY_IMAGE_CALL
    sizes = {"frame_size": SIZE, "crop_sizes": [(504, 504)]}
    zoom = parse_call(payload([100, 100], image=1), earlier_points=[(100, 100)], form=form, **sizes)
    assert zoom == Zoom((100, 100), image=1)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 998), st.integers(0, 798), st.integers(1, 500), st.integers(1, 500), st.integers(0, 1))
def test_what_is_written_is_read_back(x, y, width, height, image):
    box = (x, y, min(x + width, 1000), min(y + height, 800))
    centre = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    for form in (calls.POINT_IN_ANY_IMAGE_CALL, calls.FRACTIONAL_BOX_CALL):
        zoom = Zoom(centre, box if form.length == 4 else None, image)
        content = tags.first_block(calls.write_call(zoom, form, frame_size=SIZE), "tool_call")
        assert parse_call(content, frame_size=SIZE, crop_sizes=[SIZE], form=form) == zoom


def test_the_canonical_layout_is_the_published_one():
    assert calls.write_call(Zoom((310, 745))) == (
        '<tool_call>\n{"name": "search_coordinate", "arguments": {"coordinate": [310, 745]}}\n</tool_call>'
    )


def test_the_layout_for_prompts_holds_the_keys_of_the_form():
    assert '"coordinate": [x, y]}}' in calls.call_layout()
    assert '"bbox_2d": [x0, y0, x1, y1], "target_image": k}}' in calls.call_layout(calls.FRACTIONAL_BOX_CALL)


def test_writing_needs_a_box_for_a_box_form_and_a_size_for_fractions():
    with pytest.raises(ValueError, match="needs a box, and Zoom"):
        calls.write_call(Zoom((1, 2)), calls.BOX_CALL)
    with pytest.raises(ValueError, match="to be written"):
        calls.write_call(Zoom((1, 2), (0, 0, 2, 4)), calls.FRACTIONAL_BOX_CALL)


def test_a_form_is_a_point_or_a_box():
    with pytest.raises(ValueError, match=r"must be 2 \(a point\) or 4 \(a box\), got 3"):
        calls.CallForm(length=3)


POINTS = st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), max_size=30)


@settings(max_examples=300, deadline=None)
@given(POINTS)
def test_distinct_points_are_the_greedy_set_by_distance(points):
    kept = []
    for x, y in points:
        if all(((x - a) ** 2 + (y - b) ** 2) ** 0.5 >= 10 for a, b in kept):
            kept.append((x, y))
    assert calls.distinct(points) == kept
