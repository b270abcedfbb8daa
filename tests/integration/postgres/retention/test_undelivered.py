"""What a webhook has still to tell is kept for it, for a while that is known."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention.remains import LATE_WATCHES, Remains
from lorax_batch_scheduler.webhooks.webhook import NewWebhook, WebhookState

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.retention.conftest import MakeCaretaker
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job

POLICY = RetentionPolicy(events=2 * DAY, undelivered=3 * DAY, segments=None)


async def make_webhook(stores: Stores, webhook_id: str = "wh_1", *event_types: str) -> None:
    await stores.webhooks.create_webhook(
        NewWebhook(
            webhook_id=webhook_id, tenant="default", url="https://example.com", event_types=[*event_types],
            description="", secret="whsec_YQ==",
        )
    )  # fmt: skip


async def execute(stores: Stores, statement: str, *arguments: object) -> None:
    async with stores.database.connection() as connection:
        await connection.execute(statement, *arguments)


async def sequences(stores: Stores) -> list[int]:
    async with stores.database.connection() as connection:
        found = await connection.fetch("SELECT sequence FROM job_events ORDER BY sequence")
    return [record["sequence"] for record in found]


async def set_aside(stores: Stores, sequence: int, *, cursor: int) -> None:
    """Let one message have failed, and all others up to the cursor have been taken."""
    await execute(stores, "UPDATE webhooks SET cursor = $1", cursor)
    await execute(
        stores,
        "INSERT INTO webhook_messages (webhook_id, sequence, job_id, event_type, state, attempts, due)"
        " VALUES ('wh_1', $1, 'job_1', 'job.queued', 'WAITING', 7, now())",
        sequence,
    )


async def test_events_that_a_webhook_has_still_to_be_told_are_kept(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await make_webhook(stores)
    await ended_job(stores, objects)
    await execute(stores, "UPDATE webhooks SET cursor = 1")
    await age(stores, 4 * DAY)
    assert await caretaker(POLICY).make_round() == {"events": 1}
    assert await sequences(stores) == [2, 3]
    await execute(stores, "UPDATE webhooks SET cursor = 3")
    assert await caretaker(POLICY).make_round() == {"events": 2}


async def test_a_message_that_waits_behind_the_cursor_keeps_its_event(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await make_webhook(stores)
    await ended_job(stores, objects)
    await set_aside(stores, 2, cursor=3)
    await age(stores, 4 * DAY)
    assert await caretaker(POLICY).make_round() == {"events": 1}
    assert await sequences(stores) == [2, 3]


async def test_a_webhook_that_is_too_far_behind_is_disabled_and_says_why(
    stores: Stores, objects: DirectoryObjectStore, caretaker: MakeCaretaker
) -> None:
    await make_webhook(stores, "wh_1")
    await make_webhook(stores, "wh_2")
    await ended_job(stores, objects)
    await execute(stores, "UPDATE webhooks SET cursor = 3 WHERE webhook_id = 'wh_2'")
    await age(stores, 5 * DAY)
    assert await caretaker(POLICY).make_round() == {"events": 3}
    late = await stores.webhooks.get_webhook("wh_1", None)
    assert (late.state, late.failing_since) == (WebhookState.DISABLED, None)
    assert late.reason == (
        "it is 5 days behind: state changes that it has still to be told are kept for 5 days, 0:00:00; "
        "enabled again, it goes on with what is left"
    )
    assert (await stores.webhooks.get_webhook("wh_2", None)).state is WebhookState.ACTIVE


async def test_a_webhook_that_has_caught_up_meanwhile_is_not_disabled(
    stores: Stores, objects: DirectoryObjectStore
) -> None:
    await make_webhook(stores)
    await ended_job(stores, objects)
    await age(stores, 9 * DAY)
    (backlog,) = await stores.retention.webhook_backlogs()
    assert (backlog.webhook_id, backlog.sequence, backlog.age // DAY) == ("wh_1", 1, 9)
    await execute(stores, "UPDATE webhooks SET cursor = 1")
    assert not await stores.retention.disable_webhook(backlog, "late")


@pytest.mark.parametrize(
    ("event_types", "state"),
    [(["job.failed"], "ACTIVE"), ([], "DISABLED")],
    ids=["nothing that it wants", "disabled"],
)
async def test_a_webhook_that_will_not_tell_them_keeps_nothing(
    stores: Stores,
    objects: DirectoryObjectStore,
    caretaker: MakeCaretaker,
    event_types: Sequence[str],
    state: str,
) -> None:
    await make_webhook(stores, "wh_1", *event_types)
    await execute(stores, "UPDATE webhooks SET state = $1", state)
    await ended_job(stores, objects)
    assert await stores.retention.webhook_backlogs() == []
    await age(stores, 2 * DAY)
    assert await caretaker(POLICY).make_round() == {"events": 3}


async def test_the_events_of_a_deleted_job_stay_until_they_are_told(
    stores: Stores, objects: DirectoryObjectStore, remains: Remains
) -> None:
    await make_webhook(stores)
    await ended_job(stores, objects)
    await stores.jobs.delete_job("job_1")
    await remains.of("job_1")
    await age(stores, LATE_WATCHES + timedelta(seconds=1))
    assert await remains.sweep_due(limit=10) == 0
    await set_aside(stores, 2, cursor=4)
    assert await remains.sweep_due(limit=10) == 0
    await execute(stores, "DELETE FROM webhook_messages")
    assert await remains.sweep_due(limit=10) == 1
    assert await sequences(stores) == [4], "the word that it was deleted"


async def test_the_events_of_a_deleted_job_go_at_the_latest_with_all_of_their_time(
    stores: Stores, objects: DirectoryObjectStore, remains: Remains, caretaker: MakeCaretaker
) -> None:
    await make_webhook(stores)
    await ended_job(stores, objects)
    await stores.jobs.delete_job("job_1")
    await remains.of("job_1")
    await age(stores, 5 * DAY)
    assert await caretaker(POLICY).make_round() == {"events": 4, "swept": 1}
    assert await sequences(stores) == []
