"""Chat templates: how messages become a prompt."""

from collections.abc import Callable, Sequence

from lorax_simulator.bodies import Message
from lorax_simulator.errors import missing_template_variable, template_failed

Template = Callable[[Sequence[Message], str | None], str]


def chatml(messages: Sequence[Message], _guideline: str | None) -> str:
    """A lenient template: every role, in any order."""
    turns = [f"<|im_start|>{message.role}\n{message.text()}<|im_end|>\n" for message in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def mistral(messages: Sequence[Message], _guideline: str | None) -> str:
    """A strict template, as Mistral-7B-Instruct v0.2: no system role, user and assistant take turns."""
    prompt = ""
    for position, message in enumerate(messages):
        if (message.role == "user") != (position % 2 == 0):
            raise template_failed(
                "invalid operation: Conversation roles must alternate user/assistant/user/assistant/... (in chat:1)"
            )
        if message.role == "user":
            prompt += f"[INST] {message.text()} [/INST]"
        elif message.role == "assistant":
            prompt += f"{message.text()}</s>"
        else:
            raise template_failed("invalid operation: Only user and assistant roles are supported! (in chat:1)")
    return prompt


def guarded(messages: Sequence[Message], guideline: str | None) -> str:
    """A template that wants a `guideline`, as the Shield models do."""
    if guideline is None:
        raise missing_template_variable("guideline")
    return f"{guideline}\n" + chatml(messages, None)


def none(_messages: Sequence[Message], _guideline: str | None) -> str:
    """The base model has no template: every chat row fails."""
    raise template_failed("template not found")


TEMPLATES: dict[str, Template] = {"chatml": chatml, "mistral": mistral, "guarded": guarded, "none": none}
