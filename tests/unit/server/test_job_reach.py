"""How far a job may reach that is not an operator's."""

from datetime import UTC, datetime

import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch_scheduler.catalogue import DEFAULT_MAX_PARAMETERS, Catalogue
from lorax_batch_server.errors import InvalidRequestError
from lorax_batch_server.job_requests import JobOrder, check_create

CATALOGUE = Catalogue.load()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def order(*, by_operator: bool = False, **config: object) -> JobOrder:
    request = pb.CreateJobRequest(dataset="d", server_config={"base_model": "mistral-7b-instruct-v0-2"} | config)  # type: ignore[arg-type]
    return check_create(
        request,
        catalogue=CATALOGUE,
        max_parameters=DEFAULT_MAX_PARAMETERS,
        now=NOW,
        by_operator=by_operator,
        adapter_sources=("hub",),
    )


@pytest.mark.parametrize("by_operator", [False, True])
def test_the_source_of_a_job_is_that_of_its_rows(by_operator: bool) -> None:
    assert order(by_operator=by_operator, adapter_source="hub").server_config.adapter_source == "hub"
    with pytest.raises(InvalidRequestError, match=r"server_config\.adapter_source.*allows hub alone"):
        order(by_operator=by_operator, adapter_source="s3")


def test_only_operators_start_servers_with_another_source() -> None:
    words = ["--adapter-source", "s3"]
    assert order(by_operator=True, custom_args=words).server_config.custom_args == words
    with pytest.raises(InvalidRequestError, match=r"custom_args\[0\].*adapters from hub alone"):
        order(custom_args=words)
