"""What the router counts of every row."""

from lorax_simulator.errors import PlainTextError, RouterError
from lorax_simulator.generation import Generated
from lorax_simulator.metrics import Metrics
from lorax_simulator.row import Row
from lorax_simulator.validation import Lengths

_FAILURE_LABELS = {"template_error": "template", "incomplete_generation": "incomplete"}


def count_failure(metrics: Metrics, error: RouterError | PlainTextError) -> None:
    """Count a failed row; the HTTP layer's own errors never reach the router's counters."""
    if isinstance(error, RouterError):
        metrics.count("lorax_request_failure", err=_FAILURE_LABELS.get(error.kind, error.kind))


def observe_lengths(metrics: Metrics, lengths: Lengths) -> None:
    """Record the accepted lengths of a row."""
    metrics.observe("lorax_request_input_length", lengths.prompt_tokens)
    metrics.observe("lorax_request_max_new_tokens", lengths.max_new_tokens)


def observe_success(metrics: Metrics, row: Row, generated: Generated, *, scale: float) -> None:
    """Record an answered row; times in real seconds."""
    inference = (row.finished_at - row.joined_at) * scale
    metrics.count("lorax_request_success")
    metrics.observe("lorax_request_duration", (row.finished_at - row.arrived_at) * scale)
    metrics.observe("lorax_request_validation_duration", (row.queued_at - row.arrived_at) * scale)
    metrics.observe("lorax_request_queue_duration", (row.joined_at - row.queued_at) * scale)
    metrics.observe("lorax_request_inference_duration", inference)
    metrics.observe("lorax_request_mean_time_per_token_duration", inference / generated.generated_tokens)
    metrics.observe("lorax_request_generated_tokens", generated.generated_tokens)
