"""Takes orders for jobs in: finds the dataset, checks what only the stores know, stores the job."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import msgspec
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES
from lorax_batch_scheduler.catalogue import BaseModel, Catalogue
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.dataset import Dataset, DatasetState
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Counts, Job, JobAdmission, JobState, NewJob
from lorax_batch_scheduler.ports import DatasetStore, JobStore

from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import Checks, shown
from lorax_batch_server.job_requests import JobOrder, check_create, check_request_id

MAX_NAMED_MODELS: Final = 5
"""Of the models in a dataset that contradict the job, as many are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerms:
    """What the service's settings say of every job."""

    max_parameters: int
    default_max_tokens: int
    price_micros_per_million: int
    """Of the currency, for a million tokens."""
    adapter_sources: tuple[str, ...] = ADAPTER_SOURCES
    """Where jobs may have adapters from, as their rows."""


class AdmissionDesk(Protocol):
    """Judges whether new jobs can end in time."""

    async def judge(self, new: NewJob, dataset: Dataset) -> JobAdmission | None:
        """Return what is found of a job that is about to be stored; None when it can't be told now. Never raises."""
        ...


class JobIntake:
    """Makes jobs of checked orders."""

    def __init__(
        self,
        jobs: JobStore,
        datasets: DatasetStore,
        catalogue: Catalogue,
        terms: JobTerms,
        clock: Clock,
        new_id: Callable[[], str],
        admission: AdmissionDesk | None = None,
    ) -> None:
        """`admission`: None where nobody plans, as in an API of its own; jobs are judged later then."""
        self._jobs = jobs
        self._datasets = datasets
        self._catalogue = catalogue
        self._terms = terms
        self._clock = clock
        self._new_id = new_id
        self._admission = admission

    @failpoint(before="create.before_store", after="create.after_store")
    async def create(self, request: pb.CreateJobRequest, traceparent: str = "") -> Job:
        """Return the new job, or the one that an earlier call with this `request_id` made.

        Raises:
            InvalidRequestError: with everything that is wrong.
            NotFoundError: no such dataset.
        """
        # A repeated call is answered even when its deadline has passed by now or the dataset is gone.
        caller = current_caller()
        request_id = check_request_id(request.request_id)
        if request_id is not None and not request.validate_only:
            known = await self._jobs.find_job_by_request(request_id, tenant=caller.tenant)
            if known is not None:
                return known
        now = self._clock.now()
        order = check_create(
            request,
            catalogue=self._catalogue,
            max_parameters=self._terms.max_parameters,
            now=now,
            by_operator=caller.sees is None,
            adapter_sources=self._terms.adapter_sources,
        )
        dataset = await self._datasets.get_dataset(order.dataset, names_of=caller.tenant, ids_of=caller.sees)
        self._check_dataset(dataset, order)
        new = self._new_job(order, dataset, "" if request.validate_only else self._new_id())
        new = msgspec.structs.replace(new, traceparent=traceparent)
        if self._admission is not None:
            new = msgspec.structs.replace(new, admission=await self._admission.judge(new, dataset))
        return _preview(new, dataset, now) if request.validate_only else await self._insert(new)

    @failpoint(before="create.before_insert")
    async def _insert(self, new: NewJob) -> Job:
        return await self._jobs.create_job(new)

    def _check_dataset(self, dataset: Dataset, order: JobOrder) -> None:
        checks = Checks()
        if dataset.state is DatasetState.UPLOADING:
            checks.fail("dataset", f"'{dataset.dataset_id}' is still being uploaded: finish its upload first")
        if dataset.state is DatasetState.FAILED:
            checks.fail("dataset", f"'{dataset.dataset_id}' failed validation: {dataset.reason}")
        for name in self._other_base_models(dataset, order.base_model)[:MAX_NAMED_MODELS]:
            checks.fail(
                "server_config.base_model",
                f"rows of the dataset name the base model {shown(name)}, but the job's is '{order.base_model.name}': "
                "rows name an adapter, or nothing",
            )
        checks.done()

    def _other_base_models(self, dataset: Dataset, base_model: BaseModel) -> list[str]:
        found = [(count.model, self._catalogue.named(count.model)) for count in dataset.models]
        return [name for name, model in found if model is not None and model is not base_model]

    def _new_job(self, order: JobOrder, dataset: Dataset, job_id: str) -> NewJob:
        return NewJob(
            job_id=job_id,
            # Also when an operator makes it: who sees the results must be who may see the rows.
            tenant=dataset.tenant,
            dataset_id=dataset.dataset_id,
            server_config=order.server_config,
            base_model_id=order.base_model.name,
            base_model_aliases=self._catalogue.aliases(order.base_model),
            secrets=order.secrets,
            priority=order.priority,
            deadline=order.deadline,
            labels=order.labels,
            request_id=order.request_id,
            error_threshold=order.error_threshold,
            # Stored, so that a later change of the setting does not change a job half-way.
            default_max_tokens=order.default_max_tokens or self._terms.default_max_tokens,
            price_micros_per_million=self._terms.price_micros_per_million,
        )


def _preview(new: NewJob, dataset: Dataset, now: datetime) -> Job:
    ready = dataset.state is DatasetState.READY
    total = dataset.row_count if ready else 0
    return Job(
        job_id="",
        tenant=new.tenant,
        dataset_id=new.dataset_id,
        server_config=new.server_config,
        base_model_id=new.base_model_id,
        base_model_aliases=new.base_model_aliases,
        state=JobState.QUEUED if ready else JobState.VALIDATING,
        create_time=now,
        update_time=now,
        priority=new.priority,
        deadline=new.deadline,
        labels=new.labels,
        error_threshold=new.error_threshold,
        default_max_tokens=new.default_max_tokens,
        price_micros_per_million=new.price_micros_per_million,
        counts=Counts(total=total, pending=total),
        admission=new.admission.answer if new.admission else None,
        admission_reason=new.admission.reason if new.admission else "",
        earliest_finish_time=new.admission.earliest_finish_time if new.admission else None,
    )
