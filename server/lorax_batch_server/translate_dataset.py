"""Datasets as messages of the contract."""

from typing import Final

from lorax_batch.v1 import dataset_pb2
from lorax_batch_scheduler.dataset import Dataset, DatasetState, InvalidReport, OnInvalid
from lorax_batch_scheduler.retention import KEEP_ALL, RetentionPolicy

from lorax_batch_server.timestamps import timestamp

STATE_NUMBERS: Final[dict[DatasetState, dataset_pb2.DatasetState.ValueType]] = {
    state: dataset_pb2.DatasetState.Value(f"DATASET_STATE_{state.value}") for state in DatasetState
}
ON_INVALID_NUMBERS: Final[dict[OnInvalid, dataset_pb2.OnInvalid.ValueType]] = {
    choice: dataset_pb2.OnInvalid.Value(f"ON_INVALID_{choice.value}") for choice in OnInvalid
}
ON_INVALID_BY_NUMBER: Final[dict[int, OnInvalid]] = {
    dataset_pb2.ON_INVALID_UNSPECIFIED: OnInvalid.FAIL,
    **{number: choice for choice, number in ON_INVALID_NUMBERS.items()},
}


def dataset_message(
    dataset: Dataset, *, in_full: bool = True, retention: RetentionPolicy = KEEP_ALL
) -> dataset_pb2.Dataset:
    """Return the message; `in_full` off leaves models and invalid lines out, as lists do."""
    message = dataset_pb2.Dataset(
        dataset_id=dataset.dataset_id,
        name=dataset.name,
        state=STATE_NUMBERS[dataset.state],
        reason=dataset.reason,
        on_invalid=ON_INVALID_NUMBERS[dataset.on_invalid],
        row_count=dataset.row_count,
        invalid_row_count=dataset.invalid_row_count,
        byte_count=dataset.stored_bytes,
        sha256=dataset.sha256 or "",
        estimated_prompt_tokens=dataset.prompt_tokens,
        model_count=dataset.model_count,
        create_time=timestamp(dataset.create_time),
        finish_time=timestamp(dataset.finish_time),
        tenant=dataset.tenant,
        expire_time=timestamp(retention.dataset_expires(dataset)),
    )
    if in_full:
        message.models.extend(
            dataset_pb2.ModelCount(model=count.model, row_count=count.row_count) for count in dataset.models
        )
    if dataset.invalid.line_count:
        message.invalid.CopyFrom(_invalid_report(dataset.invalid, with_lines=in_full))
    return message


def _invalid_report(report: InvalidReport, *, with_lines: bool) -> dataset_pb2.InvalidReport:
    return dataset_pb2.InvalidReport(
        line_count=report.line_count,
        codes=[
            dataset_pb2.InvalidCode(
                code=code.code,
                line_count=code.line_count,
                first_lines=[
                    dataset_pb2.InvalidLine(line=line.line, code=line.code, param=line.param, message=line.message)
                    for line in (code.first_lines if with_lines else [])
                ],
            )
            for code in report.codes
        ],
    )
