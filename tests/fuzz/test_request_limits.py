"""Every limit of a request: what is at it is accepted, what is above is refused with value, limit and field."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from google.protobuf import field_mask_pb2
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2, job_pb2, tenants_pb2
from lorax_batch_scheduler import server_config
from lorax_batch_scheduler.catalogue import DEFAULT_MAX_PARAMETERS, Catalogue
from lorax_batch_server import checks, dataset_requests, job_requests, tenant_requests
from lorax_batch_server.checks import Checks
from lorax_batch_server.errors import InvalidRequestError
from lorax_batch_server.status import error_status

CATALOGUE = Catalogue.load()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "mistral-7b-instruct-v0-2"


def create(**fields: Any) -> None:
    config = {"base_model": MODEL} | fields.pop("server_config", {})
    request = pb.CreateJobRequest(**({"dataset": "d", "server_config": config} | fields))
    job_requests.check_create(
        request, catalogue=CATALOGUE, max_parameters=DEFAULT_MAX_PARAMETERS, now=NOW, by_operator=True
    )


def update_request(paths: list[str], **job: Any) -> pb.UpdateJobRequest:
    return pb.UpdateJobRequest(job=job_pb2.Job(**job), update_mask=field_mask_pb2.FieldMask(paths=paths))


def update(**job: Any) -> None:
    mask = [name for name in job if name != "job_id"]
    job_requests.check_update(update_request(mask, **({"job_id": "j"} | job)), now=NOW)


def update_paths(count: int) -> None:
    paths = ["priority", *(f"x{n}" for n in range(count - 1))]
    with pytest.raises(InvalidRequestError) as told:
        job_requests.check_update(update_request(paths, job_id="j"), now=NOW)
    if "accepted" in str(told.value):
        raise told.value


def tenant(*, weight: float = 1.0, **quotas: Any) -> None:
    message = tenants_pb2.Tenant(tenant="acme", quotas=tenants_pb2.Quotas(**quotas), share_weight=weight)
    tenant_requests.check_new_tenant(message)


def key(**fields: Any) -> None:
    message = tenants_pb2.Key(tenant="acme", role=tenants_pb2.ROLE_READ, **fields)
    tenant_requests.check_new_key(message, key_id="key_1", secret_sha256=b"", now=NOW)


def update_tenant_paths(count: int) -> None:
    mask = field_mask_pb2.FieldMask(paths=["quotas", *(f"x{n}" for n in range(count - 1))])
    with pytest.raises(InvalidRequestError) as told:
        tenant_requests.check_tenant_update(tenants_pb2.UpdateTenantRequest(update_mask=mask))
    if "accepted" in str(told.value):
        raise told.value


def selected(**fields: Any) -> None:
    noted = Checks()
    job_requests.check_filter(noted, pb.JobFilter(**fields), catalogue=CATALOGUE)
    noted.done()


def watch(job_ids: list[str]) -> None:
    job_requests.check_watch(pb.WatchJobsRequest(job_ids=job_ids), catalogue=CATALOGUE)


def page(size: int, token: str = "") -> None:
    noted = Checks()
    noted.page(size, token, default=50)
    noted.done()


def start(**fields: Any) -> None:
    dataset_requests.check_start(datasets_pb2.UploadStart(**fields), tenant="default", new_id="ds", max_bytes=10_000)


def imported(**fields: Any) -> None:
    dataset_requests.check_import(
        datasets_pb2.ImportDatasetRequest(**({"path": "/x"} | fields)), tenant="default", new_id="ds"
    )


def labels(count: int) -> dict[str, str]:
    return {f"key{n}": "" for n in range(count)}


class Limit(NamedTuple):
    """A limit, the field it is told of, and a call with a value of that size."""

    value: int
    field: str
    call: Callable[[int], object]


LIMITS = {
    "MAX_ID_CHARACTERS": [
        Limit(checks.MAX_ID_CHARACTERS, "job.job_id", lambda n: update(job_id="j" * n, priority=1)),
        Limit(checks.MAX_ID_CHARACTERS, "job_ids[1]", lambda n: watch(["j", "j" * n])),
        Limit(checks.MAX_ID_CHARACTERS, "start.dataset_id", lambda n: start(dataset_id="d" * n)),
    ],
    "MAX_NAME_CHARACTERS": [
        Limit(checks.MAX_NAME_CHARACTERS, "dataset", lambda n: create(dataset="ä" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "start.name", lambda n: start(name="n" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "name", lambda n: imported(name="n" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "filter.dataset_id", lambda n: selected(dataset_id="d" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "filter.base_model", lambda n: selected(base_model="m" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "filter.tenant", lambda n: selected(tenant="t" * n)),
        Limit(checks.MAX_NAME_CHARACTERS, "key.name", lambda n: key(name="n" * n)),
    ],
    "MAX_REQUEST_ID_CHARACTERS": [
        Limit(checks.MAX_REQUEST_ID_CHARACTERS, "request_id", lambda n: create(request_id="r" * n)),
        Limit(checks.MAX_REQUEST_ID_CHARACTERS, "request_id", lambda n: imported(request_id="r" * n)),
        Limit(checks.MAX_REQUEST_ID_CHARACTERS, "start.request_id", lambda n: start(request_id="r" * n)),
    ],
    "MAX_REASON_CHARACTERS": [
        Limit(checks.MAX_REASON_CHARACTERS, "reason", lambda n: job_requests.check_reason("r" * n))
    ],
    "MAX_LABELS": [
        Limit(checks.MAX_LABELS, "labels", lambda n: create(labels=labels(n))),
        Limit(checks.MAX_LABELS, "job.labels", lambda n: update(labels=labels(n))),
        Limit(checks.MAX_LABELS, "filter.labels", lambda n: selected(labels=labels(n))),
    ],
    "MAX_LABEL_KEY_CHARACTERS": [
        Limit(checks.MAX_LABEL_KEY_CHARACTERS, "labels['kkk", lambda n: create(labels={"k" * n: ""}))
    ],
    "MAX_LABEL_VALUE_CHARACTERS": [
        Limit(checks.MAX_LABEL_VALUE_CHARACTERS, "labels['key']", lambda n: create(labels={"key": "v" * n}))
    ],
    "MAX_PAGE_SIZE": [Limit(checks.MAX_PAGE_SIZE, "page_size", page)],
    "MAX_PATH_CHARACTERS": [
        Limit(dataset_requests.MAX_PATH_CHARACTERS, "path", lambda n: imported(path="/" + "p" * (n - 1)))
    ],
    "MAX_PRIORITY": [
        Limit(job_requests.MAX_PRIORITY, "priority", lambda n: create(priority=n)),
        Limit(job_requests.MAX_PRIORITY, "priority", lambda n: create(priority=-n)),
        Limit(job_requests.MAX_PRIORITY, "job.priority", lambda n: update(priority=n)),
    ],
    "MAX_DEFAULT_MAX_TOKENS": [
        Limit(job_requests.MAX_DEFAULT_MAX_TOKENS, "default_max_tokens", lambda n: create(default_max_tokens=n))
    ],
    "MAX_TOKEN_CHARACTERS": [
        Limit(
            job_requests.MAX_TOKEN_CHARACTERS,
            "server_config.hf_token",
            lambda n: create(server_config={"hf_token": "h" * n}),
        ),
        Limit(
            job_requests.MAX_TOKEN_CHARACTERS,
            "server_config.adapter_token",
            lambda n: create(server_config={"adapter_token": "h" * n}),
        ),
    ],
    "MAX_WATCHED_JOBS": [
        Limit(job_requests.MAX_WATCHED_JOBS, "job_ids", lambda n: watch([f"job_{number}" for number in range(n)]))
    ],
    "MAX_FILTER_STATES": [Limit(job_requests.MAX_FILTER_STATES, "filter.states", lambda n: selected(states=[2] * n))],
    "MAX_MASK_PATHS": [
        Limit(job_requests.MAX_MASK_PATHS, "update_mask", update_paths),
        Limit(tenant_requests.MAX_MASK_PATHS, "update_mask", update_tenant_paths),
    ],
    "MAX_QUOTA": [
        Limit(tenant_requests.MAX_QUOTA, "tenant.quotas.queued_jobs", lambda n: tenant(queued_jobs=n)),
        Limit(tenant_requests.MAX_QUOTA, "tenant.quotas.stored_bytes", lambda n: tenant(stored_bytes=n)),
    ],
    "MAX_REQUESTS_PER_SECOND": [
        Limit(
            int(tenant_requests.MAX_REQUESTS_PER_SECOND),
            "tenant.quotas.requests_per_second",
            lambda n: tenant(requests_per_second=n),
        )
    ],
    "MAX_SHARE_WEIGHT": [
        Limit(int(tenant_requests.MAX_SHARE_WEIGHT), "tenant.share_weight", lambda n: tenant(weight=n))
    ],
    "MAX_CUSTOM_ARGS": [
        Limit(
            server_config.MAX_CUSTOM_ARGS,
            "server_config.custom_args",
            lambda n: create(server_config={"custom_args": [f"--a{i}" for i in range(n)]}),
        )
    ],
    "MAX_TEXT_CHARACTERS": [
        Limit(
            server_config.MAX_TEXT_CHARACTERS,
            "server_config.custom_args[0]",
            lambda n: create(server_config={"custom_args": ["--" + "a" * (n - 2)]}),
        ),
    ],
    "MAX_TAG_CHARACTERS": [
        Limit(
            server_config.MAX_TAG_CHARACTERS,
            "server_config.lorax_image_tag",
            lambda n: create(server_config={"lorax_image_tag": "t" * n}),
        )
    ],
    "max_dataset_bytes": [Limit(10_000, "start.total_bytes", lambda n: start(total_bytes=n))],
}


@pytest.mark.parametrize("limit", [limit for limits in LIMITS.values() for limit in limits], ids=lambda one: one.field)
def test_a_request_may_go_up_to_its_limits_and_no_further(limit):
    limit.call(limit.value - 1)
    limit.call(limit.value)
    with pytest.raises(InvalidRequestError) as told:
        limit.call(limit.value + 1)
    (violation,) = told.value.violations
    assert violation.field.startswith(limit.field)
    figures = violation.message.replace(",", "")
    assert str(limit.value + 1) in figures
    assert str(limit.value) in figures.replace(str(limit.value + 1), "")


def test_a_name_of_a_model_may_have_200_characters():
    with pytest.raises(InvalidRequestError, match="is not a base model of the catalogue"):
        create(server_config={"base_model": "m" * checks.MAX_NAME_CHARACTERS})
    with pytest.raises(InvalidRequestError, match=r"^server_config.base_model: has 201 characters, but at most 200"):
        create(server_config={"base_model": "m" * (checks.MAX_NAME_CHARACTERS + 1)})


def test_a_page_token_may_have_500_characters():
    page(1, "t" * checks.MAX_PAGE_TOKEN_CHARACTERS)
    with pytest.raises(InvalidRequestError, match=r"page_token: 't.*is not a token of this service: pass on"):
        page(1, "t" * (checks.MAX_PAGE_TOKEN_CHARACTERS + 1))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_an_error_threshold_is_a_share(threshold):
    create(error_threshold=threshold)
    for wrong in (1.0000001, -1e-9, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match=rf"error_threshold: {re.escape(repr(wrong))} is not between 0"):
            create(error_threshold=wrong)


HUGE = {
    "states": lambda: selected(states=[99] * 1_000_000),
    "good states": lambda: selected(states=[2] * 1_000_000),
    "states just below the limit": lambda: selected(states=[99] * 100),
    "ids": lambda: watch(["\0"] * 1_000_000),
    "paths": lambda: job_requests.check_update(update_request(["x"] * 1_000_000), now=NOW),
    "arguments": lambda: create(server_config={"custom_args": ["\0"] * 1_000_000}),
    "labels": lambda: create(labels={f"\0{n}": "\0" for n in range(100_000)}),
    "labels just below the limit": lambda: create(labels={f"\0{n}" + "x" * 200: "\0" * 300 for n in range(64)}),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_request_of_millions_of_faults_is_refused_in_a_few_words(name):
    with pytest.raises(InvalidRequestError) as told:
        HUGE[name]()
    assert len(told.value.violations) <= 20
    assert len(error_status(told.value).trailing_metadata[0][1]) < 5_000
