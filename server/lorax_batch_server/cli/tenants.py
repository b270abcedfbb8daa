"""`lorax-batch tenants`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.options import DEFAULT_TARGET, JsonOption, TargetOption, open_client
from lorax_batch_server.cli.output import print_json, print_pairs, print_table, show
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Tenant

NO_LIMIT: Final = "none"

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Lower-case letters, digits and dashes.")]
QueuedJobsOption = Annotated[str, typer.Option(metavar="N|none", help="Jobs that have not ended.")]
QueuedTokensOption = Annotated[
    str, typer.Option(metavar="N|none", help="Prompt tokens and allowed output tokens of rows without a result.")
]
DatasetRowsOption = Annotated[str, typer.Option(metavar="N|none", help="Lines of one dataset.")]
StoredBytesOption = Annotated[str, typer.Option(metavar="N|none", help="Of datasets and result files.")]
RateOption = Annotated[
    str, typer.Option(metavar="N|none", help="Calls that each process of the service takes a second.")
]
WeightOption = Annotated[
    float | None, typer.Option(help="Share of the fleet beside the other tenants' weights.  [default of a new one: 1]")
]


@commands.command()
def create(
    tenant: NameArgument,
    queued_jobs: QueuedJobsOption = "",
    queued_tokens: QueuedTokensOption = "",
    dataset_rows: DatasetRowsOption = "",
    stored_bytes: StoredBytesOption = "",
    requests_per_second: RateOption = "",
    share_weight: WeightOption = None,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Make a tenant; what is not limited here has no limit."""
    from lorax_batch_client import Quotas

    quotas = Quotas(
        queued_jobs=_whole("--queued-jobs", queued_jobs),
        queued_tokens=_whole("--queued-tokens", queued_tokens),
        dataset_rows=_whole("--dataset-rows", dataset_rows),
        stored_bytes=_whole("--stored-bytes", stored_bytes),
        requests_per_second=_number("--requests-per-second", requests_per_second),
    )
    weight = 1.0 if share_weight is None else _positive("--share-weight", share_weight)
    with open_client(target) as client:
        _print(client.create_tenant(tenant, quotas=quotas, share_weight=weight), as_json=as_json)


@commands.command()
def update(
    tenant: NameArgument,
    queued_jobs: QueuedJobsOption = "",
    queued_tokens: QueuedTokensOption = "",
    dataset_rows: DatasetRowsOption = "",
    stored_bytes: StoredBytesOption = "",
    requests_per_second: RateOption = "",
    share_weight: WeightOption = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Let its keys work, or not; its jobs go on.")
    ] = None,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Change what is given, `none` for no limit; the rest stays."""
    quotas: dict[str, float | None] = {}
    for name, text in (
        ("queued_jobs", queued_jobs),
        ("queued_tokens", queued_tokens),
        ("dataset_rows", dataset_rows),
        ("stored_bytes", stored_bytes),
    ):
        if text:
            quotas[name] = _whole(f"--{name.replace('_', '-')}", text)
    if requests_per_second:
        quotas["requests_per_second"] = _number("--requests-per-second", requests_per_second)
    if not quotas and share_weight is None and enable is None:
        raise CommandError("nothing to change: give a quota, --share-weight, --enable or --disable")
    disabled = None if enable is None else not enable
    with open_client(target) as client:
        changed = client.update_tenant(tenant, quotas=quotas, share_weight=share_weight, disabled=disabled)
    _print(changed, as_json=as_json)


@commands.command()
def delete(
    tenant: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Delete a tenant with its keys, webhooks, jobs, results and datasets, for good."""
    with open_client(target) as client:
        found = client.get_tenant(tenant)
        if not yes:
            jobs, size = found.usage.queued_jobs, found.usage.stored_bytes
            question = f"Delete '{tenant}', cancel its {jobs:,} unfinished jobs, delete {size:,} bytes?"
            typer.confirm(question, abort=True, err=True)
        _print(client.delete_tenant(tenant), as_json=as_json)


@commands.command()
def get(
    tenant: Annotated[str, typer.Argument(help="[default: that of the key]", show_default=False)] = "",
    as_json: JsonOption = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Show a tenant, what it may use and what it uses."""
    with open_client(target) as client:
        _print(client.get_tenant(tenant), as_json=as_json)


@commands.command("list")
def list_tenants(as_json: JsonOption = False, target: TargetOption = DEFAULT_TARGET) -> None:
    """List all tenants: what they use, and of how much."""
    with open_client(target) as client:
        found = list(client.list_tenants())
    if as_json:
        for tenant in found:
            print_json(tenant)
        return
    columns = ("TENANT", "STATE", "WEIGHT", "JOBS", "TOKENS", "STORED BYTES", "DATASET ROWS", "REQUESTS/S", "CREATED")
    print_table(
        columns,
        (
            (
                one.tenant,
                _state(one),
                one.share_weight,
                _of(one.usage.queued_jobs, one.quotas.queued_jobs),
                _of(one.usage.queued_tokens, one.quotas.queued_tokens),
                _of(one.usage.stored_bytes, one.quotas.stored_bytes),
                show(one.quotas.dataset_rows),
                show(one.quotas.requests_per_second),
                one.create_time,
            )
            for one in found
        ),
    )


def _print(tenant: "Tenant", *, as_json: bool) -> None:
    if as_json:
        print_json(tenant)
        return
    usage, quotas = tenant.usage, tenant.quotas
    print_pairs(
        [
            ("tenant", tenant.tenant),
            ("state", _state(tenant)),
            ("share weight", tenant.share_weight),
            ("jobs not ended", _of(usage.queued_jobs, quotas.queued_jobs)),
            ("queued tokens", _of(usage.queued_tokens, quotas.queued_tokens)),
            ("stored bytes", _of(usage.stored_bytes, quotas.stored_bytes)),
            ("rows of a dataset", f"at most {quotas.dataset_rows:,}" if quotas.dataset_rows else None),
            ("requests a second", f"at most {quotas.requests_per_second:g}" if quotas.requests_per_second else None),
            ("created", tenant.create_time),
        ]
    )


def _state(tenant: "Tenant") -> str:
    if tenant.delete_time is not None:
        return "being deleted"
    return "disabled" if tenant.disabled else "active"


def _of(used: int, limit: int | None) -> str:
    return show(used) if limit is None else f"{show(used)} of {show(limit)}"


def _whole(option: str, text: str) -> int | None:
    """Return a whole number, None for no limit; which numbers will do, the service knows."""
    if text in {"", NO_LIMIT}:
        return None
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise CommandError(f"{option}: '{text}' is neither a whole number nor '{NO_LIMIT}'") from None


def _number(option: str, text: str) -> float | None:
    if text in {"", NO_LIMIT}:
        return None
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"{option}: '{text}' is neither a number nor '{NO_LIMIT}'") from None


def _positive(option: str, value: float) -> float:
    if not value > 0:  # the contract takes 0 for unset
        raise CommandError(f"{option}: {value:g} is not above 0")
    return value
