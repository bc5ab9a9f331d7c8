"""Prompts from files and from chat templates."""

import json

import pytest

from vigorl_jax.reasoning import stored_prompts

# The layout of the published vision template, shortened, with another default system message.
TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nPoint at things.\\nAlways.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{% set image_count.value = image_count.value + 1 %}<|image_pad|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_DEFAULT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize("name", ["chat_template.json", "tokenizer_config.json"])
def test_the_default_system_message_of_a_template_is_found(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"chat_template": TEMPLATE}))
    assert stored_prompts.from_checkpoint(tmp_path) == "Point at things.\\nAlways."


def test_a_template_file_counts_before_the_one_in_the_tokenizer_config(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": WITHOUT_DEFAULT}))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    assert stored_prompts.from_checkpoint(str(tmp_path)).startswith("Point at things.")


def test_a_checkpoint_without_a_default_message_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no chat template"):
        stored_prompts.from_checkpoint(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": WITHOUT_DEFAULT}))
    with pytest.raises(ValueError, match="has no default system message; give a prompt file instead"):
        stored_prompts.from_checkpoint(tmp_path)


@pytest.mark.parametrize("template", ["{% if %}", "{{ ''.__class__.__mro__ }}{{ x.y.z }}", "{{ 1 / 0 }}"])
def test_a_template_that_cannot_be_rendered_is_refused(tmp_path, template):
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match="cannot be rendered"):
        stored_prompts.from_checkpoint(tmp_path)


def test_a_template_cannot_reach_outside_its_sandbox(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__base__.__subclasses__() }}")
    with pytest.raises(ValueError, match="cannot be rendered"):
        stored_prompts.from_checkpoint(tmp_path)


def test_broken_json_is_named(tmp_path):
    (tmp_path / "chat_template.json").write_text("[]")
    with pytest.raises(ValueError, match=r"chat_template\.json is not a JSON object"):
        stored_prompts.from_checkpoint(tmp_path)


def test_a_file_is_taken_as_it_is_less_white_space_around_it(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(' Line one.\\nStill \\"one\\".\nLine two.\n')
    assert stored_prompts.from_file(path) == 'Line one.\\nStill \\"one\\".\nLine two.'


def test_a_missing_or_empty_prompt_is_an_error_and_not_an_empty_prompt(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no prompt file"):
        stored_prompts.from_file(tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(ValueError, match="is empty"):
        stored_prompts.from_file(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        stored_prompts.from_file(tmp_path / "latin.txt")
