"""An entry of the lists of buckets that callers may name: a place, and whom it is for."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.s3_location import S3Location, parse_s3_location
from lorax_batch_scheduler.tenant import TENANT_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedPlace:
    """Where callers may read, or write."""

    location: S3Location
    tenant: str | None = None
    """The one whose callers may; None: those of all."""

    def is_for(self, tenant: str | None) -> bool:
        """Tell whether a tenant's callers may name it; None: somebody who sees what all tenants have."""
        return tenant is None or self.tenant in (None, tenant)


def parse_allowed_place(url: str, *, what: str) -> AllowedPlace:
    """Read an entry: a URL as `S3_FORM`, with `tenant=NAME` among its options or without.

    Raises `ConfigurationError`; `what` says in it whose the entry is.
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    tenants = [value for name, value in options if name == "tenant"]
    if len(tenants) > 1 or not all(TENANT_NAME.fullmatch(name) for name in tenants):
        raise ConfigurationError(f"{what} '{url}': tenant='{','.join(tenants)}' is not the name of one tenant")
    rest = urlencode([(name, value) for name, value in options if name != "tenant"])
    location = parse_s3_location(urlunsplit(parts._replace(query=rest)) if tenants else url, what=what)
    return AllowedPlace(location=location, tenant=tenants[0] if tenants else None)
