"""The shape that users of the Predibase SDK know, over a lorax-batch service.

    client = Predibase("localhost:50051")
    dataset = client.datasets.from_file("rows.jsonl")
    config = BatchInferenceServerConfig(base_model="mistral-7b-instruct-v0-2")
    job = client.batch_inference.create(dataset=dataset, server_config=config)
    client.batch_inference.download_results(job, dest="results.jsonl")

As there, a results file holds one line for each row, in any order: first the rows that succeeded, then the others.
"""

import itertools
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from lorax_batch_client.channel import DEFAULT_TARGET
from lorax_batch_client.dataset import Dataset
from lorax_batch_client.deployment import configuration_of, find_server
from lorax_batch_client.errors import NotFoundError
from lorax_batch_client.fleet import Server
from lorax_batch_client.job import Job, JobState
from lorax_batch_client.part_file import part_file
from lorax_batch_client.result import ResultKind
from lorax_batch_client.server_config import ServerConfig
from lorax_batch_client.sync.client import Client

STATUSES: Final = {
    JobState.VALIDATING: "queued",
    JobState.QUEUED: "queued",
    JobState.PAUSED: "queued",
    JobState.STARTING: "queued",
    JobState.RUNNING: "running",
    JobState.FINALIZING: "running",
    JobState.CANCELLING: "running",
    JobState.SUCCEEDED: "completed",
    JobState.CANCELLED: "canceled",
    JobState.FAILED: "errored",
    JobState.EXPIRED: "errored",
}

AnswerT = TypeVar("AnswerT")
UPLOADS: Final = "file_uploads/"
"""The connection of datasets that were uploaded; the hosted service's SDK takes it when a reference names none."""


class BatchInferenceServerConfig(BaseModel):
    """What the LoRAX server of a job is started with; unknown keys are kept, camelCase is understood."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True)

    base_model: str
    """For example `mistral-7b-instruct-v0-2`."""
    quantization: str | None = None
    custom_args: list[str] | None = None
    hf_token: str | None = Field(default=None, repr=False)
    lorax_image_tag: str | None = None
    backend: str | None = None

    @classmethod
    def from_deployment(cls, deployment: object, *, client: "Client | Predibase | None" = None) -> Self:
        """Return the configuration that a deployment runs with.

        A deployment is a server of the fleet (`client.deployments.get(...)`), or, together with a `client`, the id of
        one, of its slot, or the name of its base model; or an object of the Predibase SDK, or a mapping. Servers never
        tell their token, and those that the service did not start tell nothing but their model.

        Raises:
            NotFoundError: no such server; the message lists those that there are.
            AmbiguousError: several servers are meant that differ; the message lists them.
            FailedPreconditionError: the server has not told its model yet.
        """
        if isinstance(deployment, str):
            if client is None:
                raise TypeError(f"'{deployment}' is a name: give the `client` too that knows the fleet")
            deployment = find_server(list(_plain_client(client).list_servers()), deployment)
        if isinstance(deployment, Server):
            return cls._from_server_config(configuration_of(deployment))
        config = _read(deployment, "config")
        fields = {name: _read(config, name) for name in ("custom_args", "hf_token", "lorax_image_tag", "backend")}
        return cls(base_model=_model_name(deployment), quantization=_read(deployment, "quantization"), **fields)

    @classmethod
    def _from_server_config(cls, config: ServerConfig) -> Self:
        return cls(
            base_model=config.base_model,
            quantization=config.quantization or None,
            custom_args=list(config.custom_args) or None,
            lorax_image_tag=config.lorax_image_tag or None,
            backend=config.backend or None,
            **({"adapter_source": config.adapter_source} if config.adapter_source else {}),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return it as it travels: camelCase, without what is not set."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def to_server_config(self) -> ServerConfig:
        """Return what lorax-batch makes of it; warns of keys that have no meaning there."""
        extra = dict(self.model_extra or {})
        adapter_source = extra.pop("adapter_source", "") or extra.pop("adapterSource", "")
        if extra:
            warnings.warn(f"lorax-batch has no use for {', '.join(sorted(extra))} in a server config", stacklevel=3)
        return ServerConfig(
            base_model=self.base_model,
            quantization=self.quantization or "",
            lorax_image_tag=self.lorax_image_tag or "",
            hf_token=self.hf_token or "",
            custom_args=tuple(self.custom_args or ()),
            backend=self.backend or "",
            adapter_source=adapter_source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInferenceJob:
    """A job in the words of the hosted service."""

    uuid: str
    status: str
    """queued, running, completed, canceled or errored."""
    error: str | None
    """Why it is errored; None in other statuses."""
    original_request: dict[str, Any]
    """The dataset and the server configuration, as on the wire; without the token."""
    result_path: str | None
    """What names the results within the service; None until completed. `download_results` fetches them."""
    job: Job
    """All that lorax-batch tells about it."""


JobRef = BatchInferenceJob | str


class BatchInference:
    """Create, find, cancel and download batch inference jobs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, *, dataset: Dataset | str, server_config: BatchInferenceServerConfig) -> BatchInferenceJob:
        """Create a job over a dataset, by value, id or name, as `Datasets.get` takes it."""
        config = server_config.to_server_config()
        job = _by_reference(dataset, lambda named: self._client.create_job(named, config))
        name = dataset if isinstance(dataset, str) else dataset.name or dataset.dataset_id
        print(  # noqa: T201  # the SDK's users read this line
            f"Successfully requested batch inference over {name} using {server_config.base_model} as {job.job_id}."
        )
        return _describe(job)

    def get(self, job: JobRef) -> BatchInferenceJob:
        """Return the job as it is now."""
        return _describe(self._client.get_job(_uuid(job)))

    def list(self, limit: int = 10) -> list[BatchInferenceJob]:
        """Return the newest jobs, newest first."""
        if limit < 1:
            return []
        jobs = self._client.list_jobs(page_size=min(limit, 1_000))
        return [_describe(job) for job in itertools.islice(jobs, limit)]

    def cancel(self, job: JobRef) -> None:
        """Ask a job to stop; its finished rows are kept."""
        self._client.cancel_job(_uuid(job))

    def download_results(self, job: JobRef, *, dest: str | os.PathLike[str]) -> Path:
        """Write all rows of an ended job to one JSONL file: those that succeeded, then those that did not."""
        path = Path(dest)
        with part_file(path) as file:
            for kind in (ResultKind.OUTPUT, ResultKind.ERROR):
                for data in self._client.download_bytes(_uuid(job), kind):
                    file.write(data)
        return path


class Datasets:
    """Upload and find datasets."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def from_file(self, file_path: str | os.PathLike[str], name: str | None = None) -> Dataset:
        """Upload a JSONL file and return its dataset, which is then being validated.

        `name` is the file's own without its ending, unless it is given.
        """
        return self._client.upload_dataset(file_path, name=Path(file_path).stem if name is None else name)

    def get(self, dataset_ref: Dataset | str) -> Dataset:
        """Return a dataset by value, id or name; `file_uploads/NAME` is NAME, as all that was uploaded is there.

        There are no other connections here: with any other in front, it is a name like all.
        """
        return _by_reference(dataset_ref, self._client.get_dataset)


class Deployments:
    """Find the servers of the fleet, which are what deployments are to the hosted service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> "list[Server]":
        """Return all servers."""
        return [*self._client.list_servers()]

    def get(self, deployment_ref: Server | str) -> Server:
        """Return a server as it is now, by its id, its slot's id, or the name of its base model."""
        ref = deployment_ref if isinstance(deployment_ref, str) else deployment_ref.server_id
        return find_server(self.list(), ref)


class Beta:
    """Where the hosted service's SDK has batch inference."""

    def __init__(self, batch_inference: BatchInference) -> None:
        self.batch_inference = batch_inference


class Predibase:
    """The part of the Predibase SDK's client that lorax-batch serves; `beta.batch_inference` works too.

    `api_token` is a key of the service, where it asks for one; unset: the variable LORAX_BATCH_API_KEY.
    """

    def __init__(self, target: str | None = None, *, api_token: str | None = None) -> None:
        self.client = Client(
            target or os.environ.get("LORAX_BATCH_TARGET") or DEFAULT_TARGET,
            api_key=api_token or os.environ.get("LORAX_BATCH_API_KEY", ""),
        )
        self.batch_inference = BatchInference(self.client)
        self.beta = Beta(self.batch_inference)
        self.datasets = Datasets(self.client)
        self.deployments = Deployments(self.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the service."""
        self.client.close()


def _by_reference(dataset: Dataset | str, call: Callable[[Dataset | str], AnswerT]) -> AnswerT:
    """Return what a call makes of a dataset; one that is not there may be told with the connection of uploads."""
    try:
        return call(dataset)
    except NotFoundError:
        if not isinstance(dataset, str) or not dataset.startswith(UPLOADS):
            raise
        return call(dataset.removeprefix(UPLOADS))


def _describe(job: Job) -> BatchInferenceJob:
    status = STATUSES.get(job.state, "queued")
    return BatchInferenceJob(
        uuid=job.job_id,
        status=status,
        error=(job.reason or "failed") if status == "errored" else None,
        original_request={"dataset": job.dataset_id, "serverConfig": _wire_config(job.server_config)},
        result_path=f"jobs/{job.job_id}/results" if status == "completed" else None,
        job=job,
    )


def _wire_config(config: ServerConfig) -> dict[str, Any]:
    wire = {
        "baseModel": config.base_model,
        "quantization": config.quantization,
        "customArgs": list(config.custom_args),
        "loraxImageTag": config.lorax_image_tag,
        "backend": config.backend,
        "adapterSource": config.adapter_source,
    }
    return {key: value for key, value in wire.items() if value}


def _plain_client(client: "Client | Predibase") -> Client:
    return client.client if isinstance(client, Predibase) else client


def _uuid(job: JobRef) -> str:
    return job if isinstance(job, str) else job.uuid


def _read(source: object, name: str) -> Any:  # noqa: ANN401  # a deployment is whatever the other SDK made
    """Return an attribute or a key, in snake_case or camelCase; None when there is none."""
    if isinstance(source, Mapping):
        return source.get(name, source.get(to_camel(name)))
    return getattr(source, name, None)


def _model_name(deployment: object) -> str:
    model = _read(deployment, "model")
    name = model if isinstance(model, str) else _read(model, "name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"the deployment names no model: {deployment!r}")
    return name
