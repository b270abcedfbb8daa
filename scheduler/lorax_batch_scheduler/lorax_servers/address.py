"""Where a server listens, taken from its URL."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from lorax_batch_scheduler.errors import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """The parts of a server's URL that a connection needs."""

    host: str
    port: int
    tls: bool
    host_header: bytes
    path_prefix: str
    """Stands before every path, without a slash at its end; mostly empty."""

    @classmethod
    def from_url(cls, url: str) -> "ServerAddress":
        """Read a URL such as `http://10.0.0.7:8080` or `https://models.example/lorax`.

        Raises:
            ConfigurationError: it is no http or https URL with a host.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0 or not url.isascii():
            raise ConfigurationError(f"server URL '{url}' is not of the form http://HOST[:PORT] or https://HOST[:PORT]")
        return cls(
            host=parts.hostname,
            port=port or DEFAULT_PORTS[parts.scheme],
            tls=parts.scheme == "https",
            host_header=parts.netloc.rpartition("@")[2].encode(),
            path_prefix=parts.path.rstrip("/"),
        )
