"""Tenants and an operator on one service that asks for keys."""

from collections.abc import Iterator

import pytest
from lorax_batch_client import Client, DatasetState, JobState, Quotas, Role
from lorax_batch_client.errors import NotFoundError, PermissionDeniedError, ResourceExhaustedError, UnauthenticatedError

from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

MODEL = "mistral-7b-instruct-v0-2"
ROWS = 20


class Operator(Client):
    """A client with the operator's key."""

    def key(self, tenant: str, role: Role = Role.SUBMIT) -> str:
        return self.create_key(tenant, role).secret


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("tenants")
    arguments = ("--auth", "keys", "--operator-key-file", str(directory / "operator.key"))
    with (
        Simulator("--time-scale", "0.03") as simulator,
        Service(directory, simulator.url, arguments=arguments) as started,
    ):
        yield started


@pytest.fixture
def operator(service: Service) -> Iterator[Operator]:
    secret = (service.directory / "operator.key").read_text().strip()
    with Operator(service.target, api_key=secret) as client:
        yield client


def test_tenants_run_jobs_side_by_side_and_see_their_own(service: Service, operator: Operator) -> None:
    operator.create_tenant("acme", quotas=Quotas(dataset_rows=ROWS, queued_jobs=1))
    operator.create_tenant("globex", share_weight=2)
    acme, globex = operator.key("acme"), operator.key("globex")
    with Client(service.target, api_key=acme) as ours, Client(service.target, api_key=globex) as theirs:
        mine = ours.create_job(ours.upload_dataset(make_rows("r", ROWS)), base_model=MODEL, request_id="nightly")
        other = theirs.create_job(theirs.upload_dataset(make_rows("r", ROWS)), base_model=MODEL, request_id="nightly")
        assert (mine.tenant, other.tenant) == ("acme", "globex")
        assert ours.wait(mine).state is JobState.SUCCEEDED
        assert theirs.wait(other).state is JobState.SUCCEEDED
        assert [job.job_id for job in ours.list_jobs()] == [mine.job_id]
        assert len(list(ours.results(mine))) == ROWS
        for call in (ours.get_job, ours.delete_job, ours.retry_job):
            with pytest.raises(NotFoundError):
                call(other.job_id)
        with pytest.raises(PermissionDeniedError, match="needs a key of the role OPERATE"):
            list(ours.list_slots())
        too_many = ours.wait_for_dataset(ours.upload_dataset(make_rows("many", ROWS + 1)))
        assert too_many.state is DatasetState.FAILED
        assert "more than 20 lines: split it, or ask an operator" in too_many.reason
        assert "quota dataset_rows of tenant 'acme'" in too_many.reason
        usage = ours.get_tenant().usage
        assert usage.stored_bytes > 0
        assert usage.queued_jobs == 0
    assert [tenant.tenant for tenant in operator.list_tenants()] == ["globex", "acme", "default"]
    assert {job.tenant for job in operator.list_jobs()} == {"acme", "globex"}


def test_the_quota_for_jobs_is_told_at_once(service: Service, operator: Operator) -> None:
    operator.create_tenant("initech", quotas=Quotas(queued_jobs=1))
    with Client(service.target, api_key=operator.key("initech")) as client:
        dataset = client.wait_for_dataset(client.upload_dataset(make_rows("one", 1)))
        client.create_job(dataset, base_model="llama-3-8b-instruct")
        with pytest.raises(ResourceExhaustedError, match="may have 1 jobs that have not ended") as told:
            client.create_job(dataset, base_model="llama-3-8b-instruct")
        assert told.value.facts.retry_after is not None


def test_keys_outlive_a_restart_and_a_revoked_one_does_not(service: Service, operator: Operator) -> None:
    operator.create_tenant("hooli")
    secret, kept = operator.key("hooli", Role.READ), operator.key("hooli", Role.READ)
    operator.revoke_key(list(operator.list_keys(tenant="hooli"))[-1])
    service.stop()
    service.start()
    with Client(service.target, api_key=kept) as client:
        assert list(client.list_jobs()) == []
    for key in (secret, ""):
        with Client(service.target, api_key=key) as client, pytest.raises(UnauthenticatedError):
            list(client.list_jobs())
    log = service.log.read_text()
    assert not any(each in log for each in (secret, kept, (service.directory / "operator.key").read_text().strip()))
