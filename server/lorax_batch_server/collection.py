"""The collector of objects without names, as the settings want it."""

import secrets
from datetime import timedelta

from lorax_batch_scheduler.collector import Collector, CollectorSettings

from lorax_batch_server.settings import Settings
from lorax_batch_server.stores import Stores


def make_collector(settings: Settings, stores: Stores) -> Collector:
    """Return a collector of the service's store."""
    return Collector(
        stores.collections,
        stores.objects,
        clock=stores.clock,
        # Nobody else can use an embedded database: a pass that a dead process began is gone on with at once.
        new_id=lambda: "alone" if stores.embedded is not None else secrets.token_hex(8),
        settings=CollectorSettings(
            interval=timedelta(seconds=settings.collect_interval_s), grace=timedelta(seconds=settings.collect_grace_s)
        ),
    )
