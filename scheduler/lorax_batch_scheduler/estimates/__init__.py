"""Learns how long rows are and how fast servers, and foretells from it when jobs end: pure but for the keeper."""

from lorax_batch_scheduler.estimates.admission import Admission, admit
from lorax_batch_scheduler.estimates.calibration import Calibration, Coverage
from lorax_batch_scheduler.estimates.estimates import Estimates
from lorax_batch_scheduler.estimates.eta import Eta, etas
from lorax_batch_scheduler.estimates.family_facts import FamilyFacts, Gpu
from lorax_batch_scheduler.estimates.fluid_plan import Outlook, finish_times
from lorax_batch_scheduler.estimates.learned import Learned, Subject, Topic
from lorax_batch_scheduler.estimates.learned_book import LearnedBook
from lorax_batch_scheduler.estimates.server_speed import Work
from lorax_batch_scheduler.estimates.token_lengths import AdapterLeft, JobLeft, RowsEnded, TokensLeft
from lorax_batch_scheduler.estimates.told import is_news, job_admission, job_eta
from lorax_batch_scheduler.job import AdmissionAnswer

__all__ = [
    "AdapterLeft",
    "Admission",
    "AdmissionAnswer",
    "Calibration",
    "Coverage",
    "Estimates",
    "Eta",
    "FamilyFacts",
    "Gpu",
    "JobLeft",
    "Learned",
    "LearnedBook",
    "Outlook",
    "RowsEnded",
    "Subject",
    "TokensLeft",
    "Topic",
    "Work",
    "admit",
    "etas",
    "finish_times",
    "is_news",
    "job_admission",
    "job_eta",
]
