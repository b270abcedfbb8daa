"""The errors of the router as they go over the wire."""


class RouterError(Exception):
    """A JSON error: `{"error": text, "error_type": kind}` with its status."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text


class PlainTextError(Exception):
    """An error of the HTTP layer below the router: plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def overloaded() -> RouterError:
    """No permit is free."""
    return RouterError(429, "overloaded", "Model is overloaded")


def health_overloaded() -> RouterError:
    """What `/health` of v0.12.1 says when no permit is free."""
    return RouterError(500, "overloaded", "Model is overloaded")


def invalid(text: str) -> RouterError:
    """The row breaks a limit."""
    return RouterError(422, "validation", f"Input validation error: {text}")


def template_failed(text: str) -> RouterError:
    """There is no chat template, or it raised."""
    return RouterError(422, "template_error", f"Failed applying chat template to inputs: {text}")


def missing_template_variable(name: str) -> RouterError:
    """The template wants a variable that the row does not give; misspelt as in the original."""
    return RouterError(422, "missing_template_variable", f"Missing template vatiable: {name}")


def tool_failed(text: str) -> RouterError:
    """Bad tools in the request, or generated text that is no call of them."""
    return RouterError(422, "tool_error", f"Tool error: {text}")


def generation_failed(text: str) -> RouterError:
    """The shard raised."""
    return RouterError(424, "generation", f"Request failed during generation: {text}")


def unavailable() -> PlainTextError:
    """A proxy that has no server behind it."""
    return PlainTextError(503, "no healthy upstream")


def incomplete() -> RouterError:
    """The stream of tokens ended without a last one."""
    return RouterError(500, "incomplete_generation", "Incomplete generation")


def unhealthy() -> RouterError:
    """What `/health` of main says when the shard does not answer well."""
    return RouterError(503, "healthcheck", "unhealthy")


def broken_json(reason: str) -> PlainTextError:
    """The body is no JSON."""
    return PlainTextError(400, f"Failed to parse the request body as JSON: {reason}")


def wrong_type(reason: str) -> PlainTextError:
    """The JSON is not of the expected type."""
    return PlainTextError(422, f"Failed to deserialize the JSON body into the target type: {reason}")


def not_json_content() -> PlainTextError:
    """The content type is missing or not JSON."""
    return PlainTextError(415, "Expected request with `Content-Type: application/json`")


def body_too_large() -> PlainTextError:
    """The body is larger than 2 MiB."""
    return PlainTextError(413, "Failed to buffer the request body: length limit exceeded")
