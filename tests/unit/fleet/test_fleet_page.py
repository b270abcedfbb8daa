"""What docs/fleet.md shows works."""

import re
import tomllib
from pathlib import Path

from lorax_batch_scheduler.server_hosts.fleet_file import parse_fleet

PAGE = Path(__file__).parents[3] / "docs" / "fleet.md"


def test_the_example_is_a_fleet_file():
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    plan = parse_fleet(tomllib.loads(found[1]), "docs/fleet.md")
    assert [slot.slot_id for slot in plan.command] == ["gpu-0", "gpu-1-left"]
    assert [slot.url for slot in plan.static] == ["http://10.0.0.7:8080"]
