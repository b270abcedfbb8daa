"""A real PostgreSQL that listens on a port, with TLS; the one that comes with us has none built in."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from lorax_batch_scheduler.postgres.embedded import USER, EmbeddedPostgres
from lorax_batch_scheduler.server_hosts.command.free_port import free_port

from tests.certificates import Issued
from tests.postgres_fixtures import TEST_SETTINGS

_HBA = "local all all trust\nhostssl all {user} 127.0.0.1/32 trust\nhostssl all certified 127.0.0.1/32 cert\n"


def programs_with_tls() -> Path | None:
    """Return the folder of an installed PostgreSQL (15 or newer) that was built with TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if int(folder.parent.name) >= 15:
            said = subprocess.run([folder / "pg_config", "--configure"], capture_output=True, text=True, check=False)
            if "openssl" in said.stdout:
                return folder
    return None


class TlsPostgres:
    """Takes `USER` over TLS alone, and `certified` with a certificate of that name."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory, settings=TEST_SETTINGS)
        self._data = directory / "cluster/data"
        self.port = 0

    async def start(self, issued: Issued, client_ca: Path) -> None:
        """Start it with this certificate."""
        await self._server.start()
        await self._server.stop()
        owner = self._data.stat()
        for name, source in (("server.crt", issued.cert), ("server.key", issued.key), ("ca.crt", client_ca)):
            shutil.copyfile(source, self._data / name)
            os.chown(self._data / name, owner.st_uid, owner.st_gid)
            (self._data / name).chmod(0o600)
        (self._data / "pg_hba.conf").write_text(_HBA.format(user=USER))
        self.port = free_port((), random.Random())
        tls = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt"}
        listening = {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        self._server._settings = {**self._server._settings, **listening, **tls}
        await self._server.start()

    async def stop(self) -> None:
        """Stop it."""
        await self._server.stop()

    def dsn(self, *, user: str = USER, query: str = "") -> str:
        """Return its address."""
        return f"postgresql://{user}@localhost:{self.port}/postgres{query}"
