"""The container image, where there is a Docker engine to build it."""

import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def engine_answers() -> bool:
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not engine_answers(), reason="NO DOCKER ENGINE: the image was neither built nor started")
@pytest.mark.timeout(1_200)
def test_the_image_serves_as_an_unprivileged_user_and_is_healthy() -> None:
    name = f"lorax-batch-test-{uuid.uuid4().hex[:12]}"

    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout

    docker("build", "--tag", name, str(ROOT))
    try:
        docker(
            "run",
            "--detach",
            "--env",
            "LORAX_BATCH_ALLOW_INSECURE=true",
            "--name",
            name,
            "--health-interval",
            "1s",
            name,
        )
        assert docker("exec", name, "id", "-u").strip() == "10001"
        wait = "until [ \"$(docker inspect -f '{{.State.Health.Status}}' NAME)\" = healthy ]; do sleep 1; done"
        subprocess.run(["timeout", "120", "sh", "-c", wait.replace("NAME", name)], check=True)
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)
        subprocess.run(["docker", "image", "rm", "--force", name], check=False, capture_output=True)
