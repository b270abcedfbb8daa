"""The messages of a chat: what of them reaches the prompt, and what LoRAX would lose."""

from typing import Final

from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.rules import (
    Rule,
    apply_rules,
    dropped,
    need,
    non_empty_text,
    refused,
    text,
    wrong_type,
)

_LOST_CALL: Final = "it never reaches the prompt, so the answer would not know of it: write it into 'content'"
IMAGE_CHARACTERS: Final = len("![]()")
"""LoRAX writes an image into the prompt as a link."""


def messages(value: object, param: str) -> list[dict[str, object]]:
    """Check the messages of a chat."""
    if not isinstance(value, list):
        raise wrong_type(value, param, "a list of messages")
    if not value:
        raise InvalidRowError(Code.INVALID_VALUE, param, f"'{param}' is empty, but must hold at least one message")
    return [_message(item, f"{param}[{index}]") for index, item in enumerate(value)]


def prompt_characters(checked: object) -> int:
    """Return how many characters of checked messages reach the prompt."""
    assert isinstance(checked, list)
    return sum(_content_characters(message["content"]) for message in checked)


def _content_characters(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(
            len(part["text"]) if "text" in part else len(part["image_url"]["url"]) + IMAGE_CHARACTERS
            for part in content
        )
    return 0


def _message(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, 'an object like {"role": "user", "content": "..."}')
    need(value, "role", path)
    if "content" not in value:
        # Fields that LoRAX drops explain a missing content better than its absence does.
        apply_rules(_MESSAGE, value, path)
        need(value, "content", path)
    message = apply_rules(_MESSAGE, value, path)
    message.setdefault("content", None)
    return message


def _content(value: object, path: str) -> object:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise wrong_type(value, path, "a string, null or a list of parts")
    return [_part(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _part(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, 'an object like {"type": "text", "text": "..."}')
    kind = need(value, "type", path)
    if kind == "text":
        need(value, "text", path)
        return apply_rules(_TEXT_PART, value, path)
    if kind == "image_url":
        need(value, "image_url", path)
        return apply_rules(_IMAGE_PART, value, path)
    message = f"'{path}.type' is {shown(kind)}; LoRAX takes parts of type text and image_url"
    raise InvalidRowError(Code.UNSUPPORTED_VALUE, f"{path}.type", message)


def _image(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong_type(value, path, 'an object like {"url": "https://..."}')
    need(value, "url", path)
    return apply_rules({"url": non_empty_text, "detail": dropped}, value, path)


_MESSAGE: Final[dict[str, Rule]] = {
    "role": non_empty_text,
    "content": _content,
    # Only role and content reach the template; a participant's name is a hint that LoRAX has no place for.
    "name": dropped,
    "tool_calls": refused(_LOST_CALL, []),
    "tool_call_id": refused(_LOST_CALL),
    "function_call": refused(_LOST_CALL),
    "refusal": refused(_LOST_CALL, ""),
    "audio": refused("send text"),
}
_TEXT_PART: Final[dict[str, Rule]] = {"type": text, "text": text}
_IMAGE_PART: Final[dict[str, Rule]] = {"type": text, "image_url": _image}
