"""Checks requests about jobs and turns them into the scheduler's values; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES
from lorax_batch_scheduler.catalogue import BaseModel, Catalogue
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.job import JobFilter
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.launching.shared_arguments import check_shared_arguments
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.server_config import ServerConfig, check_adapter_source, check_server_config

from lorax_batch_server.checks import (
    MAX_ID_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_REQUEST_ID_CHARACTERS,
    Checks,
    shown,
)
from lorax_batch_server.timestamps import aware
from lorax_batch_server.translate_job import STATES_BY_NUMBER

MAX_PRIORITY: Final = 100
MAX_DEFAULT_MAX_TOKENS: Final = 1_000_000
MAX_TOKEN_CHARACTERS: Final = 500
MAX_WATCHED_JOBS: Final = 1_000
MAX_FILTER_STATES: Final = 100
MAX_MASK_PATHS: Final = 100
_UPDATABLE: Final = ("priority", "deadline", "labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """A checked CreateJobRequest."""

    dataset: str
    """An id or a name."""
    server_config: ServerConfig
    base_model: BaseModel
    secrets: JobSecrets
    priority: int
    deadline: datetime | None
    labels: dict[str, str]
    request_id: str | None
    error_threshold: float
    default_max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """A checked UpdateJobRequest: what is not named stays."""

    job_id: str
    priority: int | None = None
    deadline: datetime | None = None
    clear_deadline: bool = False
    labels: dict[str, str] | None = None


def check_create(
    request: pb.CreateJobRequest,
    *,
    catalogue: Catalogue,
    max_parameters: int,
    now: datetime,
    by_operator: bool,
    adapter_sources: Sequence[str] = ADAPTER_SOURCES,
) -> JobOrder:
    """Return what a CreateJobRequest asks for. Raises `InvalidRequestError` with everything that is wrong.

    `by_operator`: servers may be started with any argument; else with those that can't harm other tenants.
    `adapter_sources`: where the job may have adapters from.
    """
    checks = Checks()
    checks.text("dataset", request.dataset, limit=MAX_NAME_CHARACTERS, required=True)
    config = _server_config(request.server_config)
    base_model = _base_model(checks, config, catalogue, max_parameters)
    _check_config(checks, config, base_model, adapter_sources, by_operator=by_operator)
    given = request.server_config
    secrets = JobSecrets(
        hf_token=_token(checks, "hf_token", given.hf_token),
        adapter_token=_token(checks, "adapter_token", given.adapter_token),
    )
    checks.number("priority", request.priority, low=-MAX_PRIORITY, high=MAX_PRIORITY)
    deadline = _deadline(checks, "deadline", request.deadline, now) if request.HasField("deadline") else None
    checks.labels("labels", request.labels)
    checks.text("request_id", request.request_id, limit=MAX_REQUEST_ID_CHARACTERS)
    checks.number("error_threshold", request.error_threshold, low=0, high=1)
    checks.number("default_max_tokens", request.default_max_tokens, low=0, high=MAX_DEFAULT_MAX_TOKENS)
    checks.done()
    assert base_model is not None
    return JobOrder(
        dataset=request.dataset,
        server_config=config,
        base_model=base_model,
        secrets=secrets,
        priority=request.priority,
        deadline=deadline,
        labels=dict(request.labels),
        request_id=request.request_id or None,
        error_threshold=request.error_threshold,
        default_max_tokens=request.default_max_tokens,
    )


def check_request_id(request_id: str) -> str | None:
    """Return a usable request id, None when unset. Raises `InvalidRequestError`."""
    checks = Checks()
    checks.text("request_id", request_id, limit=MAX_REQUEST_ID_CHARACTERS)
    checks.done()
    return request_id or None


def check_reason(reason: str) -> str:
    """Return a usable reason. Raises `InvalidRequestError`."""
    checks = Checks()
    checks.text("reason", reason, limit=MAX_REASON_CHARACTERS)
    checks.done()
    return reason


def check_update(request: pb.UpdateJobRequest, *, now: datetime) -> JobUpdate:
    """Return what an UpdateJobRequest asks for. Raises `InvalidRequestError`."""
    checks = Checks()
    job, paths = request.job, set(request.update_mask.paths)
    checks.text("job.job_id", job.job_id, limit=MAX_ID_CHARACTERS, required=True)
    if not paths:
        checks.fail("update_mask", f"is empty: name what to change, of {', '.join(_UPDATABLE)}")
    fits = checks.size("update_mask", len(paths), limit=MAX_MASK_PATHS)
    for path in sorted(paths.difference(_UPDATABLE)) if fits else ():
        checks.fail("update_mask", f"{shown(path)} can't be changed; only {', '.join(_UPDATABLE)} can")
    deadline = None
    if "priority" in paths:
        checks.number("job.priority", job.priority, low=-MAX_PRIORITY, high=MAX_PRIORITY)
    if "deadline" in paths and job.HasField("deadline"):
        deadline = _deadline(checks, "job.deadline", job.deadline, now)
    if "labels" in paths:
        checks.labels("job.labels", job.labels)
    checks.done()
    return JobUpdate(
        job_id=job.job_id,
        priority=job.priority if "priority" in paths else None,
        deadline=deadline,
        clear_deadline="deadline" in paths and deadline is None,
        labels=dict(job.labels) if "labels" in paths else None,
    )


def check_filter(
    checks: Checks,
    request: pb.JobFilter,
    *,
    catalogue: Catalogue,
    job_ids: tuple[str, ...] = (),
    sees: str | None = None,
) -> JobFilter:
    """Return the filter that a request means, noting what is wrong with it in `checks`.

    `sees`: the one tenant whose jobs the caller sees; None: it sees those of all.
    """
    checks.text("filter.tenant", request.tenant, limit=MAX_NAME_CHARACTERS)
    if sees is not None and request.tenant not in {"", sees}:
        checks.fail("filter.tenant", f"{shown(request.tenant)} is not the tenant of your key: leave it unset")
    if checks.size("filter.states", len(request.states), limit=MAX_FILTER_STATES):
        for number in request.states:
            if number not in STATES_BY_NUMBER:
                checks.fail("filter.states", f"{number} is not a state of a job")
    checks.labels("filter.labels", request.labels)
    checks.text("filter.dataset_id", request.dataset_id, limit=MAX_NAME_CHARACTERS)
    checks.text("filter.base_model", request.base_model, limit=MAX_NAME_CHARACTERS)
    model = catalogue.named(request.base_model)
    return JobFilter(
        job_ids=list(job_ids),
        states=[STATES_BY_NUMBER[number] for number in request.states if number in STATES_BY_NUMBER],
        labels=dict(request.labels),
        dataset_id=request.dataset_id or None,
        # A model that has left the catalogue may still have jobs.
        base_model_id=model.name if model is not None else request.base_model or None,
        tenant=sees or request.tenant or None,
    )


def check_watch(
    request: pb.WatchJobsRequest, *, catalogue: Catalogue, sees: str | None = None
) -> tuple[JobFilter, int | None]:
    """Return what to watch, and the sequence to go on behind; `sees` as for `check_filter`.

    Raises:
        InvalidRequestError: with everything that is wrong.
    """
    checks = Checks()
    if checks.size("job_ids", len(request.job_ids), limit=MAX_WATCHED_JOBS, way_out=": use a filter"):
        for index, job_id in enumerate(request.job_ids):
            checks.text(f"job_ids[{index}]", job_id, limit=MAX_ID_CHARACTERS, required=True)
    after = request.after_sequence if request.HasField("after_sequence") else None
    if after is not None and after < 0:
        checks.fail("after_sequence", f"{after} is negative: leave it unset to begin with a snapshot")
    named = tuple(dict.fromkeys(request.job_ids))
    where = check_filter(checks, request.filter, catalogue=catalogue, job_ids=named, sees=sees)
    checks.done()
    return where, after


def _server_config(message: job_pb2.ServerConfig) -> ServerConfig:
    return ServerConfig(
        base_model=message.base_model,
        lorax_image_tag=message.lorax_image_tag,
        quantization=message.quantization,
        custom_args=list(message.custom_args),
        backend=message.backend,
        adapter_source=message.adapter_source,
    )


def _token(checks: Checks, field: str, token: str) -> str:
    # The value is a secret: it is not shown, not even when it is wrong.
    REDACTOR.remember(token)
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or any(character <= " " for character in token):
        checks.fail(
            f"server_config.{field}",
            f"has {len(token)} characters, but must be at most {MAX_TOKEN_CHARACTERS} of ASCII without spaces",
        )
    return token


def _base_model(checks: Checks, config: ServerConfig, catalogue: Catalogue, max_parameters: int) -> BaseModel | None:
    model: BaseModel | None = None
    if len(config.base_model) > MAX_NAME_CHARACTERS:
        checks.text("server_config.base_model", config.base_model, limit=MAX_NAME_CHARACTERS)
    else:
        try:
            model = catalogue.check(config.base_model, max_parameters)
        except InvalidInputError as error:
            checks.failed(error)
    return model


def _check_config(
    checks: Checks, config: ServerConfig, model: BaseModel | None, adapter_sources: Sequence[str], *, by_operator: bool
) -> None:
    try:
        check_server_config(config, model)
        check_adapter_source(config, adapter_sources)
        if not by_operator:
            check_shared_arguments(config.custom_args, adapter_sources=adapter_sources)
    except InvalidInputError as error:
        checks.failed(error)


def _deadline(checks: Checks, field: str, deadline: Timestamp, now: datetime) -> datetime | None:
    try:
        time = aware(deadline)
    except (ValueError, OverflowError):
        checks.fail(field, "is not a point in time between the years 1 and 9999")
        return None
    if time <= now:
        message = f"{time.isoformat()} is not in the future; it is {now.isoformat()} here: give a later one, or none"
        checks.fail(field, message)
        return None
    return time
