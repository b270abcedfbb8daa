import pytest
from lorax_batch_client.targets import Targets


def test_replicas_are_used_in_turn_and_a_failure_counts_once():
    targets = Targets("a:1, b:2,c:3")
    targets.move_on("a:1")
    targets.move_on("a:1")
    assert (targets.current, len(targets)) == ("b:2", 3)
    for failed in ("b:2", "c:3"):
        targets.move_on(failed)
    assert targets.current == "a:1"


def test_a_list_of_grpcs_own_is_left_to_grpc():
    assert Targets("ipv4:10.0.0.1:5,10.0.0.2:5").current == "ipv4:10.0.0.1:5,10.0.0.2:5"


@pytest.mark.parametrize("text", ["", "a:1,", "a:1,http://b:2"])
def test_each_of_a_list_must_be_a_target(text: str):
    with pytest.raises(ValueError, match="target"):
        Targets(text)
