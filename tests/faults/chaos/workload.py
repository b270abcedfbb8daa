"""A stream of jobs: so many at a time, one after another, each followed to its end and checked."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from lorax_batch_client import AsyncClient, ClientError, Job, JobDeleted, JobState, OnInvalid
from lorax_batch_client.errors import FailedPreconditionError, NotFoundError
from lorax_batch_client.result import ResultKind

from tests.faults.chaos.door import Door, NobodyAnswersError
from tests.faults.chaos.event_check import EventCheck
from tests.faults.chaos.file_check import FileCheck
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.job_plan import ExpectedLine, Fate, JobPlan, Outcome, make_plan

BASE_MODEL: Final = "mistral-7b-instruct-v0-2"
STUCK_S: Final = 45.0
"""A job that has not gone on for so long, while no fault strikes, is stuck."""
ALLOWED_ENDS: Final = {
    Fate.RUN: {JobState.SUCCEEDED},
    Fate.PAUSE: {JobState.SUCCEEDED},
    Fate.CANCEL: {JobState.CANCELLED, JobState.SUCCEEDED},
    Fate.EXPIRE: {JobState.EXPIRED, JobState.SUCCEEDED},
}


@dataclass(slots=True)
class Ended:
    """A job that has ended, as it was told then."""

    job: Job
    deleted: bool = False


@dataclass(slots=True)
class Ledger:
    """All that the load did."""

    ended: dict[str, Ended] = field(default_factory=dict)
    started: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    answered: int = 0
    answered_keys: set[str] = field(default_factory=set)
    runs: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When a row was run anew by a retry, by its key."""


class Workload:
    """Runs jobs until `enough` is called, then lets those under way end."""

    def __init__(self, seed: str, door: Door, findings: Findings, *, at_once: int, most_rows: int) -> None:
        self.ledger = Ledger()
        self._seed = seed
        self._door = door
        self._findings = findings
        self._at_once = at_once
        self._most_rows = most_rows
        self._next_number = 0
        self._enough_at: float | None = None

    def enough(self) -> None:
        """Begin no more jobs."""
        self._enough_at = time.monotonic()

    async def run(self) -> None:
        """Run the load."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._stream())

    async def _stream(self) -> None:
        while self._enough_at is None:
            self._next_number += 1
            plan = make_plan(self._seed, self._next_number, most_rows=self._most_rows)
            try:
                await self._one(self._next_number, plan)
            except NobodyAnswersError:
                return
            except ClientError as error:
                self._findings.add(f"job {plan.tag}: {type(error).__name__}: {error}")

    async def _one(self, number: int, plan: JobPlan) -> None:
        client = self._door.client(number)
        dataset = await client.upload_dataset(
            plan.content.splitlines(), name=plan.tag, on_invalid=OnInvalid.SKIP, request_id=f"upload-{plan.tag}"
        )
        if not plan.early:
            await client.wait_for_dataset(dataset)
        job = await self._door.call(
            "CreateJob",
            lambda client: client.create_job(dataset, base_model=BASE_MODEL, request_id=f"create-{plan.tag}"),
        )
        self.ledger.started[plan.fate] += 1
        ended = await self._follow(client, job, plan)
        if ended is None:
            return
        failed = await self._check(client, ended, plan.lines)
        if ended.state not in ALLOWED_ENDS[plan.fate]:
            self._findings.add(f"{ended.job_id} was to {plan.fate} and ended as {ended.state.name}: {ended.reason}")
        if plan.retries and failed and self._enough_at is None:
            await self._retry(client, ended, plan, failed)
        if plan.deletes:
            await self._delete(ended)

    async def _follow(self, client: AsyncClient, job: Job, plan: JobPlan | None) -> Job | None:
        """Watch a job to its end, doing to it what the plan says; None: it never ended."""
        check = EventCheck(f"of {job.job_id}", self._findings, complete=False)
        last = job
        acting = plan is not None and plan.fate is not Fate.RUN
        while not last.is_terminal:
            try:
                async with asyncio.timeout(STUCK_S) as limit:
                    async for event in client.watch(job):
                        check.take(event)
                        if isinstance(event, JobDeleted):
                            self._findings.add(f"{job.job_id} was deleted by nobody")
                            return None
                        if event.job.counts.ended > last.counts.ended:
                            limit.reschedule(asyncio.get_running_loop().time() + STUCK_S)
                        last = event.job
                        if acting and plan is not None and self._is_time(last, plan):
                            acting = False
                            await self._act(last, plan.fate)
            except TimeoutError:
                before, last = last, await self._door.call("GetJob", lambda client: client.get_job(job))
                # While services die every few seconds, the rows of one job may have no turn for long.
                quiet_s = time.monotonic() - self._enough_at if self._enough_at is not None else 0.0
                if quiet_s >= STUCK_S and not last.is_terminal and last.counts.ended == before.counts.ended:
                    self._findings.lost += last.counts.total - last.counts.ended
                    self._findings.add(f"{job.job_id} is stuck: {last.state.name} ({last.reason}), {last.counts}")
                    return None
                self.ledger.started["watch begun anew"] += 1
                continue
            if not last.is_terminal:
                self._findings.add(f"the watch of {job.job_id} ended in {last.state.name}")
                last = await self._door.call("GetJob", lambda client: client.get_job(job))
        self.ledger.states[last.state.name] += 1
        self.ledger.rows += last.counts.total
        self.ledger.answered += last.counts.succeeded
        self.ledger.ended[last.job_id] = Ended(last)
        return last

    def _is_time(self, job: Job, plan: JobPlan) -> bool:
        if job.is_terminal or job.state in (JobState.FINALIZING, JobState.CANCELLING):
            return False
        if plan.fate is Fate.CANCEL:
            return job.counts.ended >= plan.at_share * len(plan.lines)
        # Only what is on its way can be paused.
        return job.state is not JobState.VALIDATING and job.counts.ended >= plan.at_share * len(plan.lines)

    async def _act(self, job: Job, fate: Fate) -> None:
        match fate:
            case Fate.CANCEL:
                await self._try("CancelJob", lambda client: client.cancel_job(job, reason="the plan"))
            case Fate.EXPIRE:
                await self._try("UpdateJob", lambda client: client.update_job(job, deadline=timedelta(seconds=2)))
            case Fate.PAUSE:
                await self._try("PauseJob", lambda client: client.pause_job(job))
                await asyncio.sleep(0.5)
                await self._try("ResumeJob", lambda client: client.resume_job(job))
            case Fate.RUN:
                pass

    async def _try(self, what: str, operation: Callable[[AsyncClient], Awaitable[Job]]) -> None:
        """Change a job that may have ended meanwhile."""
        try:
            await self._door.call(what, operation)
        except FailedPreconditionError:
            self.ledger.started[f"{what} came too late"] += 1

    async def _check(self, client: AsyncClient, job: Job, lines: dict[int, ExpectedLine]) -> set[int]:
        """Check the files of an ended job; return its failed lines."""
        output = b"".join([data async for data in client.download_bytes(job, ResultKind.OUTPUT)])
        errors = b"".join([data async for data in client.download_bytes(job, ResultKind.ERROR)])
        again = await self._door.call("GetJob", lambda client: client.get_job(job))
        check = FileCheck(again, lines, self._findings)
        check.check(output.splitlines(), errors.splitlines())
        if (again.state, again.counts) != (job.state, job.counts):
            self._findings.add(f"{job.job_id} was told as {job.state} {job.counts}, is {again.state} {again.counts}")
        self.ledger.ended[job.job_id] = Ended(again)
        self.ledger.codes.update(check.codes)
        self.ledger.answered_keys |= check.answered_keys
        return check.failed_lines

    async def _retry(self, client: AsyncClient, job: Job, plan: JobPlan, failed: set[int]) -> None:
        lines = {line: plan.lines[line] for line in failed}
        moment = time.time()
        for line in lines.values():
            self.ledger.runs[line.key].append(moment)
        again = await self._door.call("RetryJob", lambda client: client.retry_job(job, request_id=f"retry-{plan.tag}"))
        self.ledger.started["retry"] += 1
        if again.retry_of != job.job_id:
            self._findings.add(f"{again.job_id} is a retry of {again.retry_of!r}, not of {job.job_id}")
        ended = await self._follow(client, again, None)
        if ended is None:
            return
        still_failed = await self._check(client, ended, lines)
        wrong = {line for line in still_failed if lines[line].outcome is not Outcome.REFUSED}
        if ended.state is not JobState.SUCCEEDED:
            self._findings.add(f"{ended.job_id}, a retry, ended as {ended.state.name}: {ended.reason}")
        elif wrong:
            self.ledger.started["rows failed again"] += len(wrong)

    async def _delete(self, job: Job) -> None:
        with contextlib.suppress(NotFoundError):  # an earlier try has done it, and its answer was lost
            await self._door.call("DeleteJob", lambda client: client.delete_job(job))
        self.ledger.ended[job.job_id].deleted = True
        try:
            await self._door.call("GetJob", lambda client: client.get_job(job))
        except NotFoundError:
            return
        self._findings.add(f"{job.job_id} was deleted and is still there")

    async def check_ends(self) -> None:
        """Check once more, in the end, that no ended job has changed."""
        for job_id, ended in self.ledger.ended.items():
            try:
                now = await self._door.call("GetJob", lambda client, job_id=job_id: client.get_job(job_id))  # type: ignore[misc]
            except NotFoundError:
                if not ended.deleted:
                    self._findings.add(f"{job_id} has vanished")
                continue
            if ended.deleted:
                self._findings.add(f"{job_id} was deleted and is back")
            elif replace(now, progress=None) != replace(ended.job, progress=None):  # its speed is that of now
                self._findings.add(f"{job_id} changed after its end: {ended.job} to {now}")
