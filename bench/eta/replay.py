"""A replay in which every plan also foretells when jobs end."""

from lorax_batch_scheduler.estimates import Calibration, Outlook, etas
from lorax_batch_scheduler.packing.cluster import ClusterView
from lorax_batch_scheduler.replay.cluster import Replay
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.policies import POLICIES
from lorax_batch_scheduler.replay.trace import Trace

KNOWN_SIGMA = 0.15
"""Of work left, once rows of the job have ended."""
FIRST_SIGMA = 0.5


class ForetellingReplay(Replay):
    """Notes the bands at each plan, and scores them when jobs end."""

    def __init__(self, trace: Trace, calibration: Calibration, *, policy: str = "setup_aware_fair") -> None:
        super().__init__(trace, POLICIES[policy]())
        self.calibration = calibration
        self._open: set[str] = set()
        self._seen: dict[str, JobRun] = {}

    def view(self) -> ClusterView:
        """Return what the policy sees, after looking at it as callers of jobs do."""
        view = super().view()
        self._seen |= self._unfinished
        for job_id in self._open - {job.job_id for job in view.jobs}:
            self._score(job_id)
        self._open = {job.job_id for job in view.jobs}
        etas(view, self._outlook(), fractions=self._fractions(), calibration=self.calibration)
        return view

    def score_rest(self) -> None:
        """Score what has ended since the last plan."""
        for job_id in self._open:
            self._score(job_id)

    def _score(self, job_id: str) -> None:
        finish = self._seen[job_id].finish
        assert finish is not None
        self.calibration.ended(job_id, finish)

    def _fractions(self) -> dict[str, float]:
        return {job_id: 1 - run.left_rows / run.row_count for job_id, run in self._unfinished.items()}

    def _outlook(self) -> Outlook:
        tails, sigmas = {}, {}
        for job_id, run in self._unfinished.items():
            models = self._servers.by_kind(run.trace.family).values()
            allowed = (run.left_reserved - run.left_prompt) / max(run.left_rows, 1)
            longest = min(allowed, 1.8 * allowed * self._knowledge.ratio(run))
            fill = [
                min(run.left_rows, int(0.75 * model.kv_tokens * run.left_rows / run.left_reserved)) for model in models
            ]
            tails[job_id] = max(
                model.decode_s(max(rows, 1), with_adapters=run.with_adapters) * longest
                for model, rows in zip(models, fill, strict=True)
            )
            sigmas[job_id] = KNOWN_SIGMA if run.ended_rows >= 20 else FIRST_SIGMA
        return Outlook(tails_s=tails, log_sigmas=sigmas)


def foretell(trace: Trace, calibration: Calibration) -> None:
    """Play a trace and score every forecast."""
    replay = ForetellingReplay(trace, calibration)
    replay.run()
    replay.score_rest()
