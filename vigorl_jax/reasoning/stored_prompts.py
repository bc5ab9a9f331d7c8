"""System prompts that others wrote: from a text file, or from the chat template of a checkpoint.

Released checkpoints were trained with prompts of their own, which they carry as the default system message of
their chat template. A prompt that cannot be found is an error, never an empty prompt (B7).
"""

import json
from pathlib import Path

# A model directory keeps its chat template in one of these; the first that exists counts.
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
_MARK = "@@system@@"


def from_file(path: str | Path) -> str:
    """The text of a file, less white space around it.

    Backslashes stay as they are: the official prompt files hold a backslash and an n where a line ends, and
    the models saw them so.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no prompt file {path}.")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"The prompt file {path} is not UTF-8 text: {error}.") from error
    if not text:
        raise ValueError(f"The prompt file {path} is empty.")
    return text


def from_checkpoint(model_dir: str | Path) -> str:
    """The system message that a checkpoint's chat template inserts when a conversation has none.

    The template is rendered twice, in a sandbox, without a system message and with a known one; what stands
    in the place of the known one is the default.

    Raises:
      FileNotFoundError: the directory holds no chat template.
      ValueError: the template cannot be read or rendered, or inserts no system message of its own.
    """
    template = _chat_template(Path(model_dir))
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "question"}]}
    marked = _render(template, [{"role": "system", "content": _MARK}, user], model_dir)
    default = _render(template, [user], model_dir)
    before, _, after = marked.partition(_MARK)
    if len(default) <= len(before) + len(after) or not (
        default.startswith(before) and default.endswith(after)
    ):
        raise ValueError(
            f"The chat template in {model_dir} has no default system message; give a prompt file instead."
        )
    return default[len(before) : len(default) - len(after)].strip()


def _chat_template(model_dir: Path) -> str:
    for name in _TEMPLATE_FILES:
        path = model_dir / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jinja":
            return text
        try:
            template = json.loads(text).get("chat_template")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path} is not a JSON object: {error}.") from error
        if isinstance(template, str):
            return template
    raise FileNotFoundError(f"{model_dir} holds no chat template (looked in {', '.join(_TEMPLATE_FILES)}).")


def _render(template: str, messages: list[dict], model_dir: str | Path) -> str:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True)
    except Exception as error:  # A template is foreign code and can fail in any way.
        raise ValueError(f"The chat template in {model_dir} cannot be rendered: {error}.") from error
