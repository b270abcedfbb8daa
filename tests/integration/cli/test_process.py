import asyncio
import signal
import sys
from importlib.metadata import version

from lorax_batch.v1 import job_pb2

from tests.integration.client.messages import heartbeat, snapshot
from tests.integration.client.scripted_service import Service, Silence

COMMAND = (sys.executable, "-m", "lorax_batch_server")


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=pipe, stderr=pipe)


async def test_help_names_every_command():
    process = await start("--help")
    out, _ = await process.communicate()
    assert process.returncode == 0
    for name in (b"demo", b"run", b"serve", b"simulator", b"validate", b"datasets", b"jobs", b"fleet"):
        assert name in out


async def test_the_version_is_told():
    process = await start("--version")
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, f"lorax-batch {version('lorax-batch')}\n".encode())


async def test_help_loads_nothing_heavy():
    code = (
        "import sys; from lorax_batch_server.cli.application import application\n"
        "heavy = {'grpc', 'pydantic', 'rich.console', 'asyncpg', 'uvloop', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


async def test_ctrl_c_ends_a_watch_quietly_and_says_that_the_job_goes_on(service: Service):
    service.script.expect("WatchJobs", [snapshot(1, job_pb2.JOB_STATE_RUNNING), heartbeat(1), Silence()])
    process = await start("jobs", "watch", "job_1", "--target", service.target)
    assert process.stderr is not None
    assert b"running" in await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130
    assert b"job job_1 goes on" in err
    assert b"Traceback" not in out + err
