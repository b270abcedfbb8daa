"""What servers that are processes of this host need beyond the conformance suite."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from lorax_batch_scheduler.errors import ConfigurationError, FleetError
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchState
from lorax_batch_scheduler.server_hosts.command.server_log import ServerLog

from tests.conformance.live_host import answering_model, eventually, running
from tests.conformance.server_host_cases import CommandCase
from tests.integration.server_hosts.scripts import (
    LAUNCH,
    SHOWS_ALL,
    SLEEPER,
    STUBBORN,
    WITH_SHARD,
    log_of,
    script_host,
)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def live_and_die(directory: Path) -> list[str]:
    """Start a service and kill it; return the id and the URL of its server."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.server_hosts.service_life", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        said = service.stdout.readline().split()
        service.kill()
    return said


async def test_a_server_of_a_killed_service_is_adopted(tmp_path: Path) -> None:
    server_id, url = live_and_die(tmp_path)
    case = CommandCase(tmp_path)
    async with running(case.open()) as live:
        adopted = await live.reaches(server_id, LaunchState.UP)
        assert adopted.url == url
        pid = case.pid_of_record(adopted)
        assert await answering_model(url)
        await live.host.stop(server_id)
        await live.reaches(server_id, LaunchState.GONE)
        assert not is_running(pid)
    assert not list((case.state_dir / "servers").iterdir())


async def test_a_server_that_does_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, STUBBORN, grace_s=0.2)) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(server_id, LaunchState.UP)
        await eventually(lambda: "deaf" in log_of(tmp_path, server_id))
        await live.host.stop(server_id)
        assert live.server(server_id).state is LaunchState.STOPPING
        await live.reaches(server_id, LaunchState.GONE)


async def test_what_a_dead_launcher_left_is_killed_before_its_slot_is_free(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, WITH_SHARD)) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await eventually(lambda: "\n" in log_of(tmp_path, server_id))
        shard = int(log_of(tmp_path, server_id).split()[1])
        assert is_running(shard)
        os.kill(os.getsid(shard), signal.SIGKILL)  # the launcher leads the session
        gone = await live.reaches(server_id, LaunchState.GONE)
        assert gone.reason == "was killed by SIGKILL"
        assert not is_running(shard)


async def test_an_ended_stop_is_finished_by_the_next_life(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, STUBBORN, grace_s=600), close=False) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await eventually(lambda: "deaf" in log_of(tmp_path, server_id))
        await live.host.stop(server_id)
        record = tmp_path / "state/servers" / f"{server_id}.json"
        await eventually(lambda: b'"stopping":true' in record.read_bytes())
    # It was started with a long grace: what counts is what was promised to it. Here we wait no 600 s for it.
    stored = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode({**stored, "grace_s": 0.1}))
    async with running(script_host(tmp_path, STUBBORN)) as live:
        await live.reaches(server_id, LaunchState.GONE)


async def test_a_server_on_other_gpus_than_its_slot_has_now_is_ended_before_another_starts(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER, gpus=[0, 1]), close=False) as live:
        old = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(old, LaunchState.UP)
        pid = msgspec.json.decode((tmp_path / "state/servers" / f"{old}.json").read_bytes())["process"]["pid"]
    async with running(script_host(tmp_path, SLEEPER, gpus=[0])) as live:
        new = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(new, LaunchState.UP)
        assert not is_running(pid)
        assert [server.server_id for server in live.host.servers] == [new]


async def test_a_pid_that_another_program_has_now_is_left_alone(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER), close=False) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(server_id, LaunchState.UP)
    record = tmp_path / "state/servers" / f"{server_id}.json"
    stored = msgspec.json.decode(record.read_bytes())
    pid = stored["process"]["pid"]
    stored["process"]["start_ticks"] -= 1
    record.write_bytes(msgspec.json.encode(stored))
    try:
        async with running(script_host(tmp_path, SLEEPER)) as live:
            await live.reaches(server_id, LaunchState.GONE)
            assert is_running(pid)
    finally:
        end(pid)


async def test_a_server_gets_its_gpus_token_and_variables_but_not_the_services_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAX_BATCH_DATABASE_URL", "postgresql://user:password@db/x")
    token = "hf_" + "x" * 30
    words = ("{gpu}", "{gpus}", "{model}", "{args}", "--env={environment}", "{memory_fraction}", "{name}", "{{}}")
    host = script_host(tmp_path, SHOWS_ALL, *words, share=0.5, environment={"MINE": "1"})
    async with running(host) as live:
        launch = Launch(**{**{f: getattr(LAUNCH, f) for f in LAUNCH.__slots__}, "hf_token": token})
        server_id = await live.host.start("gpu-0", launch)
        gone = await live.reaches(server_id, LaunchState.GONE)
        assert gone.reason == "ended by itself with status 7"
        arguments, variables = log_of(tmp_path, server_id).splitlines()
        expected = ["0", "0", "org/model", "--quantize", "eetq", "--env=CUDA_MEMORY_FRACTION"]
        expected += ["--env=HF_TOKEN", "--env=HUGGING_FACE_HUB_TOKEN", "--env=MINE"]
        expected += ["0.5", f"lorax-batch-{server_id}", "{}"]
        assert arguments == str(expected)
        for name, value in [
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("HUGGING_FACE_HUB_TOKEN", "[token]"),
            ("HF_TOKEN", "[token]"),
            ("MINE", "1"),
        ]:
            assert str((name, value)) in variables
        assert "password" not in variables
        assert "LORAX_USE_GLOBAL_HF_TOKEN" not in variables, "other jobs must not get its adapters"
        # The server itself has printed its token: that is blotted out of what we show, and of its log when it is gone.
        assert token not in variables
        assert token not in "".join(gone.log_tail)
        assert "[token]" in "".join(gone.log_tail)


async def test_commands_of_the_template_end_a_server_and_clear_up_after_it(tmp_path: Path) -> None:
    # As with containers: the process that runs here is but a client of what `stop` ends.
    stop = ["sh", "-c", f'echo "stop $0" >> {tmp_path}/calls; kill -9 $(cat {tmp_path}/pid)', "{name}"]
    cleanup = ["sh", "-c", f'echo "cleanup $0" >> {tmp_path}/calls', "{name}"]
    script = f"import os; open('{tmp_path}/pid', 'w').write(str(os.getpid())); {STUBBORN}"
    host = script_host(tmp_path, script, template={"stop": stop, "cleanup": cleanup})
    async with running(host) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await eventually(lambda: "deaf" in log_of(tmp_path, server_id))
        await live.host.stop(server_id)
        await live.reaches(server_id, LaunchState.GONE)
    name = f"lorax-batch-{server_id}"
    assert (tmp_path / "calls").read_text() == f"stop {name}\ncleanup {name}\n"


async def test_a_stop_command_that_fails_is_replaced_by_a_signal(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER, template={"stop": ["false"]})) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(server_id, LaunchState.UP)
        await live.host.stop(server_id)
        await live.reaches(server_id, LaunchState.GONE)


async def test_a_program_that_is_not_there_is_named_and_leaves_the_slot_free(tmp_path: Path) -> None:
    host = script_host(tmp_path, SLEEPER, template={"command": ["no-such-launcher", "{port}"]})
    async with running(host) as live:
        with pytest.raises(FleetError, match=r"gpu-0.*no-such-launcher.*PATH"):
            await live.host.start("gpu-0", LAUNCH)
        assert not live.host.servers


async def test_a_fixed_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with running(script_host(tmp_path, SLEEPER, port=port)) as live:
            with pytest.raises(FleetError, match=str(port)):
                await live.host.start("gpu-0", LAUNCH)


async def test_a_state_directory_belongs_to_one_host(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER)):
        with pytest.raises(ConfigurationError, match="in use by another service"):
            await script_host(tmp_path, SLEEPER).run(lambda: None)


async def test_a_record_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER), close=False) as live:
        server_id = await live.host.start("gpu-0", LAUNCH)
        await live.reaches(server_id, LaunchState.UP)
    (tmp_path / "state/servers/torn.json").write_text('{"server_id": ')
    async with running(script_host(tmp_path, SLEEPER)) as live:
        assert [server.server_id for server in live.host.servers] == [server_id]


async def test_a_disk_that_takes_no_record_starts_no_server(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER)) as live:
        (tmp_path / "state/servers").write_text("a file where the folder should be")
        gone = await live.reaches(await live.host.start("gpu-0", LAUNCH), LaunchState.GONE)
        assert "can't be started" in gone.reason


async def test_what_is_on_disk_is_for_its_owner_only(tmp_path: Path) -> None:
    async with running(script_host(tmp_path, SLEEPER)) as live:
        await live.reaches(await live.host.start("gpu-0", LAUNCH), LaunchState.UP)
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert len(files) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_log_that_has_grown_too_long_is_cut_and_goes_on(tmp_path: Path) -> None:
    log = ServerLog(tmp_path, "s")
    with log.open() as output:
        output.write(b"old line\n" * 1_000)
        log.trim(limit_bytes=1_000)
        output.write(b"new line\n")
    assert log.path.read_bytes() == b"new line\n"
    assert (tmp_path / "s.earlier").read_bytes() == b"old line\n" * 1_000


def test_a_tail_is_short_whatever_the_log_holds(tmp_path: Path) -> None:
    log = ServerLog(tmp_path, "s")
    with log.open() as output:
        output.write(b"\xff\x00\x1b[31m" * 1_000_000)
    assert sum(map(len, log.tail())) <= 16 << 10
    assert all(line.isprintable() for line in log.tail())
