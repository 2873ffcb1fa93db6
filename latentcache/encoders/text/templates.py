"""What pipelines put captions into before they are encoded, and how many tokens they drop again.

Source: diffusers 0.42.1, the pipelines named beside each.
"""

from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import ConfigError

CHAT = "chat"
"""The tokenizer's own template, of one message of the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a text is put into.

    Attributes:
        text: With ``{}`` in the place of the text; "" gives it as it is.
        drop: Tokens at the beginning that are not part of what the model is told.
        is_chat: The tokenizer's chat template is laid around the text instead.
        system: Of a chat: the message before it, "" for none.
        has_prompt: Of a chat: it ends where the assistant would begin.
    """

    text: str = ""
    drop: int = 0
    is_chat: bool = False
    system: str = ""
    has_prompt: bool = True


_TEMPLATES = {
    CHAT: Template(is_chat=True),
    # Flux2Pipeline; black-forest-labs/flux2, system_messages.py
    "flux2": Template(
        is_chat=True,
        system="You are an AI that reasons about image descriptions. You give structured responses "
        "focusing on object relationships, object\nattribution and actions without speculation.",
        has_prompt=False,
    ),
    # Lumina2Pipeline
    "lumina2": Template(
        text="You are an assistant designed to generate superior images with the superior degree "
        "of image-text alignment based on textual prompts or user prompts. <Prompt Start> {}"
    ),
    # QwenImagePipeline
    "qwen-image": Template(
        text="<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
        "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        drop=34,
    ),
}


def find_template(name: str) -> Template:
    """Return the template of a name or file.

    Raises:
        ConfigError: There is none, or the file has no place for the text.
    """
    if not name or name in _TEMPLATES:
        return _TEMPLATES.get(name, Template())
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"template must be one of {', '.join(sorted(_TEMPLATES))}, or a file with {{}} in the "
            f"place of the text, got {name!r}; correct it"
        )
    text = path.read_text(encoding="utf-8")
    if text.count("{}") != 1:
        raise ConfigError(
            f"template must hold {{}} once, in the place of the text, got it {text.count('{}')} "
            f"times ({name}); correct the file"
        )
    return Template(text=text)
