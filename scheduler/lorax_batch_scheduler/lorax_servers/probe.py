"""Asking a server what it is and how it is; off the hot path, on connections of its own."""

import os
import ssl
from enum import StrEnum
from typing import Any

import aiohttp
import msgspec

from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.trouble import closed_advice, with_advice

INFO_TIMEOUT_S = 10.0
HEALTH_TIMEOUT_S = 30.0
"""A healthy LoRAX answers `/health` late while it downloads an adapter or computes a long prompt."""
MAX_PROBE_BYTES = 4 << 20


class Health(StrEnum):
    """What `/health` tells."""

    WELL = "WELL"
    SICK = "SICK"
    """It answers that it is not well."""
    BUSY = "BUSY"
    """It has so many rows that it can't look; LoRAX 0.12.1 says so."""
    SILENT = "SILENT"
    """It does not answer."""

    @property
    def well(self) -> bool:
        """Whether nothing is wrong, as far as it tells."""
        return self in (Health.WELL, Health.BUSY)


class _Info(msgspec.Struct):
    """`/info` of LoRAX; text-generation-inference has most of it too."""

    model_id: str = ""
    version: str = ""
    max_concurrent_requests: int | None = None
    max_total_tokens: int | None = None
    max_input_length: int | None = None
    max_batch_total_tokens: int | None = None
    max_stop_sequences: int | None = None
    max_best_of: int | None = None
    max_client_batch_size: int | None = None
    """Only text-generation-inference has it."""

    @property
    def is_lorax(self) -> bool:
        """Whether this can only be LoRAX: "" as `model` and the capacity arithmetic then hold."""
        known = self.max_concurrent_requests and self.max_total_tokens and self.max_batch_total_tokens
        return bool(self.model_id and known) and self.max_client_batch_size is None


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    """vLLM's: prompt + output tokens."""


class _Models(msgspec.Struct):
    data: list[_Model] = []


class ServerProbe:
    """Reads `/info`, `/v1/models`, `/health` and `/metrics` of one server."""

    def __init__(self, url: str, *, tls: ClientTls | None = None) -> None:
        """`tls`: how a server with https is reached; None: by the authorities of this machine."""
        self._url = url.rstrip("/")
        self._tls = (tls or ClientTls()) if self._url.startswith("https:") else None

    async def read_limits(self) -> ServerLimits:
        """Return what the server reports of itself; conservative guesses where it is no LoRAX.

        Raises:
            ServerUnreachableError: it does not answer, or says that it is not up yet.
        """
        status, body = await self._get("/info", INFO_TIMEOUT_S)
        if status >= 500:
            raise ServerUnreachableError(self._url, f"/info answers status {status}")
        info = _decode(body, _Info) if status == 200 else None
        if info is not None and info.model_id:
            return _limits_of_info(info)
        status, body = await self._get("/v1/models", INFO_TIMEOUT_S)
        if status >= 500:
            raise ServerUnreachableError(self._url, f"/v1/models answers status {status}")
        models = _decode(body, _Models) if status == 200 else None
        if models is None or not models.data:
            return ServerLimits(model_id="")
        return ServerLimits(model_id=models.data[0].id, max_total_tokens=models.data[0].max_model_len)

    async def health(self) -> Health:
        """Tell how the server is. A server without `/health` that answers at all is well."""
        try:
            status, body = await self._get("/health", HEALTH_TIMEOUT_S)
        except ServerUnreachableError:
            return Health.SILENT
        if status >= 500:
            return Health.BUSY if b"overloaded" in body else Health.SICK
        return Health.WELL

    async def rows_running(self) -> int | None:
        """Return how many rows the server generates for right now; None where it does not tell."""
        try:
            status, body = await self._get("/metrics", INFO_TIMEOUT_S)
        except ServerUnreachableError:
            return None
        if status != 200:
            return None
        for line in body.splitlines():
            name, _, value = line.rpartition(b" ")
            if name.partition(b"{")[0] == b"lorax_batch_current_size":
                try:
                    return int(float(value))
                except ValueError:
                    return None
        return None

    async def _get(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
                session.get(
                    self._url + path, allow_redirects=False, ssl=self._tls.context() if self._tls is not None else True
                ) as response,
            ):
                body = b""
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > MAX_PROBE_BYTES:
                        raise ServerUnreachableError(self._url, f"{path} answers more than {MAX_PROBE_BYTES >> 20} MiB")
                return response.status, body
        except TimeoutError:
            raise ServerUnreachableError(self._url, f"no answer to {path} within {timeout_s:g} s") from None
        except aiohttp.ClientConnectorError as error:
            detail = with_advice(_why(error.os_error), error, prefix="server")
            raise ServerUnreachableError(self._url, detail) from error
        except (aiohttp.ClientError, OSError) as error:
            detail = with_advice(str(error) or type(error).__name__, error, prefix="server")
            if self._tls is not None and isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
                detail += f"; {closed_advice('server')}"
            raise ServerUnreachableError(self._url, detail) from error


def _why(error: OSError) -> str:
    """Return the system's own words: "Connection refused", "Name or service not known"."""
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def _limits_of_info(info: _Info) -> ServerLimits:
    default = ServerLimits(model_id="")
    return ServerLimits(
        model_id=info.model_id,
        version=info.version,
        max_concurrent_requests=info.max_concurrent_requests or default.max_concurrent_requests,
        max_total_tokens=info.max_total_tokens,
        max_input_length=info.max_input_length,
        max_batch_total_tokens=info.max_batch_total_tokens,
        max_stop_sequences=info.max_stop_sequences,
        max_best_of=info.max_best_of,
        is_lorax=info.is_lorax,
    )


def _decode(body: bytes, kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of `kind`
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
