"""Jobs that are configured as a server of the fleet is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client.errors import NotFoundError
from lorax_batch_client.predibase import BatchInferenceServerConfig, Predibase

from tests.end_to_end.poll import poll_until
from tests.processes import Service, Simulator, write_rows

pytestmark = pytest.mark.timeout(60)

MODEL = "mistralai/Mistral-7B-Instruct-v0.2"
NAME = "mistral-7b-instruct-v0-2"


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service]) -> Iterator[Service]:
    with Simulator("--time-scale", "0.01", "--model-id", MODEL) as simulator:
        yield serve(simulator.url)


@pytest.fixture
def predibase(service: Service) -> Iterator[Predibase]:
    with Predibase(service.target) as predibase:
        poll_until(predibase.deployments.list, lambda servers: [one.base_model_id for one in servers] == [NAME])
        yield predibase


@pytest.mark.parametrize("ref", [NAME, MODEL, "the id of its slot"])
def test_a_config_is_taken_from_a_server_by_name(predibase: Predibase, ref: str) -> None:
    [server] = predibase.deployments.list()
    name = server.slot_id if ref == "the id of its slot" else ref
    expected = BatchInferenceServerConfig(base_model=NAME)
    assert BatchInferenceServerConfig.from_deployment(name, client=predibase) == expected
    assert BatchInferenceServerConfig.from_deployment(name, client=predibase.client) == expected
    assert BatchInferenceServerConfig.from_deployment(predibase.deployments.get(name)) == expected


def test_a_job_with_that_config_runs_on_that_server(predibase: Predibase, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", 4)
    dataset = predibase.datasets.from_file(tmp_path / "rows.jsonl")
    config = BatchInferenceServerConfig.from_deployment(predibase.deployments.get(NAME))
    job = predibase.batch_inference.create(dataset=dataset, server_config=config)
    poll_until(lambda: predibase.batch_inference.get(job).status, lambda status: status == "completed")


def test_a_server_that_is_not_there_is_told_with_those_that_are(predibase: Predibase) -> None:
    with pytest.raises(NotFoundError, match=rf"base model 'llama-2-7b': there are slot_[0-9a-f]+: {NAME} \(ready\)"):
        predibase.deployments.get("llama-2-7b")
