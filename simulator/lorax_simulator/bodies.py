"""The request bodies, typed as strictly as the router types them; unknown fields are ignored, as it ignores them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, Meta(ge=0)]  # msgspec takes no bound above an int64


class TextPart(Struct, tag="text", tag_field="type"):
    """A piece of a message."""

    text: str


class ImageUrl(Struct):
    """Where an image is."""

    url: str


class ImagePart(Struct, tag="image_url", tag_field="type"):
    """An image in a message: on a text-only model its markdown goes into the prompt."""

    image_url: ImageUrl


class Message(Struct):
    """One turn of a conversation; only its role and text reach the template."""

    role: str
    content: str | list[TextPart | ImagePart] | None = None
    name: str | None = None

    def text(self) -> str:
        """Return the flattened content."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content or []
        return "".join(part.text if isinstance(part, TextPart) else f"![]({part.image_url.url})" for part in parts)


class FunctionDefinition(Struct):
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any]
    description: str | None = None


class Tool(Struct):
    """A tool: always a function."""

    function: FunctionDefinition
    type: str = "function"


class NamedSchema(Struct):
    """The `json_schema` of a response format."""

    name: str
    schema: Any = None
    description: str | None = None
    strict: bool | None = None


class ChatResponseFormat(Struct):
    """The shape that a chat answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: Any = None


class ChatBody(Struct):
    """`POST /v1/chat/completions`."""

    model: str
    messages: list[Message]
    max_tokens: Int32 | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int32 | None = None
    n: Int32 | None = None
    stop: list[str] = []
    seed: Uint64 | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos_token: bool | None = None
    response_format: ChatResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: str | None = None
    tool_prompt: str | None = None
    guideline: str | None = None
    stream: bool | None = None
    adapter_source: str | None = None
    api_token: str | None = None
    user: str | None = None
    logit_bias: dict[str, float] | None = None


class CompletionBody(Struct):
    """`POST /v1/completions`."""

    model: str
    prompt: str
    max_tokens: Int32 | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int32 | None = None
    n: Int32 | None = None
    best_of: Int32 | None = None
    stop: list[str] = []
    stream: bool | None = None
    echo: bool | None = None
    logprobs: Int32 | None = None
    seed: Uint64 | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos_token: bool | None = None
    adapter_source: str | None = None
    api_token: str | None = None
    suffix: str | None = None
    user: str | None = None
    logit_bias: dict[str, float] | None = None


class MergedAdapters(Struct):
    """Several adapters merged into one."""

    ids: list[str]
    weights: list[float] = []
    merge_strategy: str | None = None
    density: float = 0.0
    majority_sign_method: str | None = None


class NativeResponseFormat(Struct):
    """The shape that a native answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    schema: Any = None


class NativeParameters(Struct):
    """The parameters of native generate."""

    adapter_id: str | None = None
    adapter_source: str | None = None
    merged_adapters: MergedAdapters | None = None
    api_token: str | None = None
    best_of: Uint32 | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_k: Int32 | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: Uint32 | None = None
    ignore_eos_token: bool = False
    return_full_text: bool | None = None
    stop: list[str] = []
    truncate: Uint32 | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    return_k_alternatives: Int32 | None = None
    seed: Uint64 | None = None
    response_format: NativeResponseFormat | None = None


class NativeBody(Struct):
    """`POST /generate`, `/generate_stream`, `/` and `/invocations`."""

    inputs: str
    parameters: NativeParameters = msgspec.field(default_factory=NativeParameters)
    stream: bool = False


class EmbedBody(Struct):
    """`POST /embed`."""

    inputs: str
    parameters: NativeParameters = msgspec.field(default_factory=NativeParameters)


class OpenAIEmbedBody(Struct):
    """`POST /v1/embeddings`."""

    input: str
    model: str = ""


class TokenizeBody(Struct):
    """`POST /tokenize`."""

    inputs: str
    add_special_tokens: bool = True


class ClassifyBody(Struct):
    """`POST /classify` and `/classify_batch`."""

    inputs: str | list[str]
