"""A fleet that can't be used ends the service with status 2 and one line, before anything is begun."""

from pathlib import Path

import pytest

from tests.processes import Service

pytestmark = pytest.mark.timeout(60)

SLOT = '[[slots]]\nid = "a"\ngpus = [0]\ntemplate = "simulator"\n'
KUBERNETES = '[kubernetes]\nimage = "lorax:1"\n[[kubernetes.slots]]\nclass = "A_b"\ncount = 1\nmemory_gib = 80\n'


@pytest.fixture
def directory(postgres_directory: Path, tmp_path: Path) -> Path:
    found = postgres_directory / tmp_path.name
    found.mkdir(mode=0o755)
    return found


def refused(directory: Path, fleet: str) -> str:
    """Return what a service says at last that ends with status 2 for want of a usable fleet."""
    file = directory / "fleet.toml"
    file.write_text(fleet, encoding="utf-8")
    service = Service(directory, arguments=("--fleet", str(file)))
    try:
        service.begin()
        assert service.wait_ended() == 2
    finally:
        service.close()
    said = service.log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert "listening" not in said
    return said.splitlines()[-1]


@pytest.mark.parametrize(
    ("fleet", "said"),
    [
        (SLOT + SLOT.replace('"a"', '"b"'), "slots entry 2 'b': share = 1: GPU 0 is shared with 'a' (1)"),
        (KUBERNETES, "kubernetes.slots[0].class = 'A_b': must be 1 to 18 lower-case letters"),
    ],
)
def test_a_bad_fleet_file_is_told_before_anything_is_begun(directory: Path, fleet: str, said: str) -> None:
    line = refused(directory, fleet)
    assert line.startswith(f"lorax-batch: fleet file '{directory}/fleet.toml': ")
    assert said in line
    assert not (directory / "data").exists(), "nothing of it is made"


def test_a_folder_that_cannot_be_written_in_is_told_before_anybody_can_call(directory: Path) -> None:
    place = directory / "data/command/logs"
    place.parent.mkdir(parents=True)
    place.touch()
    line = refused(directory, SLOT)
    assert f"'{place}', where records and logs of LoRAX servers are kept, can't be written in" in line
