"""Takes secrets out of texts: those that this process has had in its hands, and what looks like one."""

import base64
import json
import re
from typing import Any, Final

BLOT: Final = "[redacted]"
_KEPT: Final = 256
"""Secrets that are remembered, the last used ones; older ones are found only by how they look."""
_SHORTEST: Final = 8
_LONGEST: Final = 1_000
"""Nothing shorter or longer is a token: what callers send as one must not take words out of the log, or fill memory."""
_LOOKS: Final = re.compile(
    r"\b(?:hf_|api_org_|pb_)[A-Za-z0-9]{16,}"  # Hugging Face, Predibase
    r"|(?<=[Bb]earer )[^\s\"',;\\]{8,}"
    r"|(?<=://)[^\s/:@\"']+:[^\s/@\"']+(?=@)"  # user and password of a URL
)


class Redactor:
    """Remembers secrets, and blots them out."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}
        """The forms of each secret, the one that was used last at the end."""

    def remember(self, secret: str) -> None:
        """Blot this out from now on: as it is, as it stands in JSON, and in Base64, as Kubernetes shows Secrets."""
        if not _SHORTEST <= len(secret) <= _LONGEST:
            return
        self._known.pop(secret, None)
        self._known[secret] = tuple({secret, json.dumps(secret)[1:-1], base64.b64encode(secret.encode()).decode()})
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    def clean(self, text: str) -> str:
        """Return a text without secrets."""
        # A copy: other threads may remember one meanwhile.
        for forms in tuple(self._known.values()):
            for form in forms:
                if form in text:
                    text = text.replace(form, BLOT)
        return _LOOKS.sub(BLOT, text)

    def clean_bytes(self, data: bytes) -> bytes:
        """Return bytes, UTF-8 or not, without the secrets that are known."""
        for forms in tuple(self._known.values()):
            for form in forms:
                data = data.replace(form.encode(), BLOT.encode())
        return data

    def clean_value(self, value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
        """Return lists and mappings with all texts in them cleaned; keys stay."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {key: self.clean_value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(each) for each in value]
        return value


REDACTOR: Final = Redactor()
"""Of the process, as its log is."""
