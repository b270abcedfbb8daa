"""What a LoRAX server must be started with for a job."""

from dataclasses import dataclass, field
from typing import TypedDict

from lorax_batch.v1 import job_pb2


class ServerConfigFields(TypedDict, total=False):
    """The fields of `ServerConfig`, for calls that take them as plain keyword arguments."""

    base_model: str
    quantization: str
    lorax_image_tag: str
    hf_token: str
    custom_args: tuple[str, ...] | list[str]
    backend: str
    adapter_source: str
    adapter_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Jobs whose configurations are the same share servers. Empty means: the service's default."""

    base_model: str
    """A name or alias of the service's catalogue: `mistral-7b-instruct-v0-2`."""
    quantization: str = ""
    lorax_image_tag: str = ""
    hf_token: str = field(default="", repr=False)
    """Write-only: the service never gives it back."""
    custom_args: tuple[str, ...] = ()
    """More arguments for the LoRAX launcher, as one would type them."""
    backend: str = ""
    adapter_source: str = ""
    adapter_token: str = field(default="", repr=False)
    """Write-only; for adapters, where `hf_token` is not the one."""

    def to_proto(self) -> job_pb2.ServerConfig:
        """Return it as it travels."""
        return job_pb2.ServerConfig(
            base_model=self.base_model,
            quantization=self.quantization,
            lorax_image_tag=self.lorax_image_tag,
            hf_token=self.hf_token,
            custom_args=self.custom_args,
            backend=self.backend,
            adapter_source=self.adapter_source,
            adapter_token=self.adapter_token,
        )

    @classmethod
    def from_proto(cls, message: job_pb2.ServerConfig) -> "ServerConfig":
        """Return what the service says a job runs with."""
        return cls(
            base_model=message.base_model,
            quantization=message.quantization,
            lorax_image_tag=message.lorax_image_tag,
            custom_args=tuple(message.custom_args),
            backend=message.backend,
            adapter_source=message.adapter_source,
        )


def server_config_from(config: ServerConfig | None, fields: ServerConfigFields) -> ServerConfig:
    """Return the configuration that a caller gave as a value or as keyword arguments, never as both."""
    if config is None:
        if "base_model" not in fields:
            raise TypeError("a job needs `server_config` or at least `base_model`")
        given = dict(fields)
        given["custom_args"] = tuple(fields.get("custom_args", ()))
        return ServerConfig(**given)  # type: ignore[arg-type]  # a TypedDict loses its types in dict()
    if fields:
        raise TypeError(f"give either `server_config` or {', '.join(fields)}, not both")
    return config
