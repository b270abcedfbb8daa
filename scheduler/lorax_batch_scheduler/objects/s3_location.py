"""A place in an S3-compatible service, and the URL that names it; no library of S3 is needed to read one."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from lorax_batch_scheduler.errors import ConfigurationError

SILENCE_S = 20.0
"""How long a store may be silent before and between the pieces of an answer. One that needs longer to complete a large
upload does it all the same, and is asked afterwards whether it did."""
S3_FORM = (
    "s3://bucket/prefix?endpoint=URL&link_endpoint=URL&region=NAME&profile=NAME&path_style=true|false&silence_s=SECONDS"
)
_OPTIONS = {"endpoint", "link_endpoint", "region", "profile", "path_style", "silence_s"}
_SECONDS = re.compile(r"[1-9]\d{0,2}")
_SWITCH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A bucket, a place in it, and how to get there."""

    bucket: str
    prefix: str = ""
    """Empty, or ends in `/`."""
    endpoint: str | None = None
    link_endpoint: str | None = None
    """The endpoint as those see it who are handed links; None: as we do."""
    region: str | None = None
    profile: str | None = None
    """Of AWS's shared configuration, for credentials; None: AWS's standard chain."""
    path_style: bool = False
    """Whether the bucket goes into the path of a URL and not into its host name."""
    silence_s: float = SILENCE_S

    def has_endpoint_of(self, other: "S3Location") -> bool:
        """Tell whether both are reached at one place."""
        return (self.endpoint or "").rstrip("/") == (other.endpoint or "").rstrip("/")

    def overlaps(self, other: "S3Location") -> bool:
        """Tell whether an object may lie in both."""
        if self.bucket != other.bucket or not self.has_endpoint_of(other):
            return False
        return self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" + (f" at {self.endpoint}" if self.endpoint else "")


def parse_s3_location(url: str, *, what: str) -> S3Location:
    """Read a URL of the form `S3_FORM`; `what` says in errors whose it is. Raises `ConfigurationError`."""
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise ConfigurationError(
            f"{what} of s3: '{parts.hostname or ''}' is not a bucket; it must be {S3_FORM}. "
            "Credentials come from AWS's own variables, profiles or roles, never from the URL"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - _OPTIONS
    if unknown or parts.fragment:
        named = ", ".join(sorted(unknown)) or "#" + parts.fragment
        raise ConfigurationError(f"{what} '{url}': '{named}' is not an option; it must be {S3_FORM}")
    for name in ("endpoint", "link_endpoint"):
        if name in options and urlsplit(options[name]).scheme not in ("http", "https"):
            raise ConfigurationError(f"{what} '{url}': {name} '{options[name]}' must begin with http:// or https://")
    # Self-hosted stores seldom have a host name for each bucket.
    path_style = options.get("path_style", "true" if "endpoint" in options else "false")
    if path_style not in _SWITCH:
        raise ConfigurationError(f"{what} '{url}': path_style is '{path_style}', but must be true or false")
    silence = options.get("silence_s")
    if silence is not None and not _SECONDS.fullmatch(silence):
        raise ConfigurationError(f"{what} '{url}': silence_s is '{silence}', but must be seconds, from 1 to 999")
    prefix = unquote(parts.path).strip("/")
    return S3Location(
        bucket=parts.netloc,
        prefix=prefix + "/" if prefix else "",
        endpoint=options.get("endpoint"),
        link_endpoint=options.get("link_endpoint"),
        region=options.get("region"),
        profile=options.get("profile"),
        path_style=_SWITCH[path_style],
        silence_s=float(silence) if silence else SILENCE_S,
    )
