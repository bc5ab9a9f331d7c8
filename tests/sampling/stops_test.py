"""The automaton stops where a plain search of the bytes finds a stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.sampling import stops
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

BYTES = [bytes([i]) for i in range(256)]
MERGED = [
    b"<",
    b"/",
    b"answer",
    b">",
    b"</",
    b"ans",
    b"wer>",
    b"</answer>",
    b"r>\nthen",
    b"",
    b"<|im_end|>",
    b"a",
]
END = 10  # id of <|im_end|> in MERGED


def stop_step(table, tokens):
    """Index of the token at which a row stops, None if it does not; checks that it stays stopped."""
    states, first = np.full(1, stops.START), None
    for i, token in enumerate(tokens):
        states = table.transitions[states, [token]]
        stopped = bool(table.accepting[states[0]])
        assert stopped or first is None
        first = i if stopped and first is None else first
    return first


def search_step(token_bytes, stop_strings, stop_ids, tokens):
    """The same by searching the text after each token."""
    text = b""
    for i, token in enumerate(tokens):
        text += token_bytes[token]
        if token in stop_ids or any(stop in text for stop in stop_strings):
            return i
    return None


texts = st.binary(min_size=1, max_size=5).map(lambda x: bytes(b"ab<"[c % 3] for c in x))


@settings(max_examples=200, deadline=None)
@given(
    merges=st.lists(texts | st.just(b""), max_size=8),
    stop_strings=st.lists(texts, max_size=4),
    stop_ids=st.sets(st.integers(0, 10), max_size=2),
    data=st.data(),
)
def test_a_row_stops_at_the_token_that_completes_a_stop(merges, stop_strings, stop_ids, data):
    token_bytes = [b"a", b"b", b"<", *merges]
    stop_ids = {token for token in stop_ids if token < len(token_bytes)}
    table = stops.build(token_bytes, stop_strings, stop_ids)
    tokens = data.draw(st.lists(st.integers(0, len(token_bytes) - 1), max_size=30))
    assert stop_step(table, tokens) == search_step(token_bytes, stop_strings, stop_ids, tokens)


@pytest.mark.parametrize(
    ("tokens", "step"),
    [
        ([7], 0),  # </answer> as one token
        ([0, 1, 2, 3], 3),  # < / answer >
        ([4, 5, 6, 11], 2),  # </ ans wer> a
        ([4, 5, 9, 6], 3),  # ids without text leave the search where it was
        ([0, 4, 2, 8], None),  # <</answerr>
        ([4, 4, 5, 6], 3),  # </</answer>: the second begins anew
        ([11, END, 7], 1),
    ],
)
def test_a_stop_is_found_whatever_way_the_tokenizer_cuts_it(tokens, step):
    assert stop_step(stops.build(MERGED, [b"</answer>"], [END]), tokens) == step


def test_a_token_with_more_bytes_behind_the_stop_stops():
    """</ answe r>\\nthen: the last token completes </answer> and goes on."""
    table = stops.build([*MERGED, b"answe"], [b"</answer>"], [])
    assert stop_step(table, [4, len(MERGED), 8, 0]) == 2


def test_stops_of_a_byte_tokenizer_with_added_tokens():
    tokenizer = Tokenizer(byte_tokenizer())
    token_bytes = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    table = stops.build(
        token_bytes, [b"</tool_call>", b"</answer>"], [tokenizer.control.im_end], vocab_size=300
    )
    plain = tokenizer.encode_plain("so</tool_call> and")
    assert stop_step(table, plain) == len("so</tool_call>") - 1
    assert stop_step(table, tokenizer.encode_with_tool_tags("so</tool_call>")) == 2
    assert (
        stop_step(table, [*tokenizer.encode_plain("no stop </answer"), 299, tokenizer.control.im_end]) == 17
    )


def test_rows_advance_on_the_device_and_stay_stopped():
    table = stops.build(BYTES, [b"ab", b"c"], [ord("x")])
    rows = [b"abzz", b"zabz", b"zzcz", b"zzzx", b"aaaa"]
    states, ended = jnp.full(5, stops.START), []
    for i in range(4):
        states, stopped = jax.jit(stops.advance)(table, states, jnp.array([row[i] for row in rows]))
        ended.append(stopped.tolist())
    assert np.array(ended).T.astype(int).tolist() == [
        [0, 1, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]
    assert states.dtype == jnp.int32


def test_changing_stops_compiles_nothing():
    compiled = jax.jit(lambda *args: stops.advance(*args))
    for strings, ids in (([], []), ([b"</answer>"], [1]), ([b"</tool_call>", b"</answer>"], [2, 3])):
        compiled(stops.build(BYTES, strings, ids), jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
    assert compiled._cache_size() == 1


def test_the_table_takes_a_byte_an_entry_up_to_128_states():
    small = stops.build(BYTES, [b"</tool_call>", b"</answer>"], [])
    assert (small.transitions.shape, small.transitions.dtype) == ((64, 256), np.int8)
    large = stops.build(BYTES, [bytes(range(1, 200))], [])
    assert (large.transitions.shape, large.transitions.dtype) == ((224, 256), np.int16)
    assert stop_step(large, list(range(1, 200))) == 198
    assert stops.build(BYTES, [b"ab"], [], least_states=4).transitions.shape == (4, 256)


def test_128_states_count_in_8_bits():
    stop = bytes(range(1, 128))  # 127 prefixes and the start
    table = stops.build(BYTES, [stop], [])
    assert table.transitions.dtype == np.int8
    assert stop_step(table, list(stop)) == 126


@pytest.mark.parametrize(
    ("stop", "spelled"),
    [
        (b"</answer>", True),
        (b"r>\nth", True),
        (b"we<", False),
        (b"ansanswer", True),
        (b"x", False),
        (b"hen<a", True),
    ],
)
def test_a_stop_that_no_tokens_spell_is_refused(stop, spelled):
    assert any(stop in left + right + end for left in MERGED for right in MERGED for end in MERGED) == spelled
    if spelled:
        stops.build(MERGED, [stop], [])
    else:
        with pytest.raises(ValueError, match="can never occur: no sequence of tokens spells it"):
            stops.build(MERGED, [b"<", stop], [])


@settings(max_examples=100, deadline=None)
@given(token_bytes=st.lists(texts, min_size=1, max_size=4), stop=texts)
def test_what_is_refused_is_what_no_short_text_contains(token_bytes, stop):
    """A stop of n bytes is spelled by n tokens or by none, when no token is empty."""
    assume(len(token_bytes) ** len(stop) <= 1024)
    written = {b""}
    for _ in stop:
        written |= {(text + token)[-20:] for text in written for token in token_bytes}
    try:
        stops.build(token_bytes, [stop], [])
    except ValueError:
        assert not any(stop in text for text in written)
    else:
        assert any(stop in text for text in written)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"stop_strings": [b""]},
            ValueError,
            "an empty stop string would stop before the first token; leave it out",
        ),
        ({"stop_strings": ["</answer>"]}, TypeError, "stop string '</answer>' is no bytes; encode it"),
        (
            {"stop_token_ids": [3, 256]},
            ValueError,
            r"stop token ids \[256\]; ids of this vocabulary are 0 to 255",
        ),
        ({"stop_token_ids": [-1]}, ValueError, r"stop token ids \[-1\]"),
        ({"vocab_size": 200}, ValueError, "vocab_size 200 for 256 tokens; give the width of the logits"),
        ({"stop_strings": [b"a" * 40_000]}, ValueError, "stop strings of 40000 bytes; give 32766 at most"),
    ],
)
def test_impossible_stops_are_refused(kwargs, error, message):
    with pytest.raises(error, match=message):
        stops.build(**{"token_bytes": BYTES, "stop_strings": [], "stop_token_ids": [], **kwargs})
