"""Bytes in, in parts that survive a broken stream."""

import pytest
from lorax_batch_scheduler.dataset import DatasetState
from lorax_batch_scheduler.errors import BusyError, InvalidInputError, OffsetMismatchError
from lorax_batch_scheduler.ingest.uploads import DatasetUpload, UploadLimits

from tests.integration.ingest.conftest import Place

DATA = bytes(range(256)) * 20


async def stored(place: Place) -> bytes:
    """Return what is stored of the upload."""
    parts = await place.datasets.upload_parts("ds_1")
    return b"".join([await place.objects.get(part.key) for part in parts])


async def test_messages_are_stored_in_parts_of_one_size(place: Place):
    upload = await place.begin()
    for start in range(0, len(DATA), 300):
        await upload.write(DATA[start : start + 300])
    assert upload.stored_bytes == 5_000
    dataset = await upload.finish("ab" * 32)
    assert dataset.state is DatasetState.VALIDATING
    assert dataset.declared_sha256 == "ab" * 32
    parts = await place.datasets.upload_parts("ds_1")
    assert [part.byte_count for part in parts] == [1_000] * 5 + [120]
    assert parts[1].key == "uploads/ds_1/00000000000000001000-1"
    assert await stored(place) == DATA


async def test_a_broken_stream_goes_on_from_what_is_stored(place: Place):
    upload = await place.begin()
    await upload.write(DATA[:2_300])
    await upload.pause()
    assert upload.stored_bytes == 2_300
    again = await DatasetUpload.begin(place.datasets, place.objects, "ds_1", offset=2_300, limits=UploadLimits())
    await again.write(DATA[2_300:])
    await again.finish(None)
    assert await stored(place) == DATA


async def test_a_stream_can_not_go_on_from_elsewhere(place: Place):
    upload = await place.begin()
    await upload.write(DATA[:2_300])
    with pytest.raises(OffsetMismatchError):
        await DatasetUpload.begin(place.datasets, place.objects, "ds_1", offset=2_300, limits=UploadLimits())


async def test_an_older_stream_is_fenced_and_leaves_nothing(place: Place):
    old = await place.begin()
    new = await DatasetUpload.begin(place.datasets, place.objects, "ds_1", offset=0, limits=UploadLimits())
    with pytest.raises(BusyError):
        await old.write(b"x" * 1_000)
    assert await place.keys() == []
    await new.write(DATA)
    await new.finish(None)
    assert await stored(place) == DATA


@pytest.mark.parametrize(("limit", "fits"), [(2_001, True), (2_000, True), (1_999, False)])
async def test_an_upload_has_a_largest_size(place: Place, limit, fits):
    upload = await place.begin(limits=UploadLimits(max_bytes=limit, part_bytes=600))
    await upload.write(b"x" * 1_500)
    if fits:
        upload.check_total(2_000)
        await upload.write(b"x" * 500)
    else:
        with pytest.raises(InvalidInputError, match="1999"):
            upload.check_total(2_000)
        with pytest.raises(InvalidInputError, match="2000 bytes are more than the 1999"):
            await upload.write(b"x" * 500)
