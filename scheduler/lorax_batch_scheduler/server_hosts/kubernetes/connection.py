"""How the service finds a cluster and its credentials."""

import asyncio
import importlib
import importlib.util
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_call import Caller
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet

LIBRARY = "kubernetes_asyncio"


def require_client() -> None:
    """Raise `ConfigurationError` unless the client library is installed; it is not loaded yet."""
    if importlib.util.find_spec(LIBRARY) is None:
        raise ConfigurationError(
            "a fleet of the kind 'kubernetes' needs the extra of that name: pip install 'lorax-batch[kubernetes]'"
        )


@asynccontextmanager
async def connect(
    fleet: KubernetesFleet, clock: Clock, chance: Callable[[], float] = random.random
) -> AsyncIterator[ClusterApi]:
    """Yield the API of a fleet's cluster.

    Raises:
        ConfigurationError: there are no credentials, or they can't be read.
    """
    require_client()
    # It takes seconds to import, for hundreds of models that are not used.
    library = await asyncio.to_thread(_import_library)
    configuration = library.client.Configuration()

    async def load() -> None:
        await _load(library.config, fleet, configuration)

    await load()
    async with library.client.ApiClient(configuration) as client:
        caller = Caller(client=client, clock=clock, chance=chance, renew=load)
        yield ClusterApi(caller=caller, namespace=fleet.namespace)


def _import_library() -> ModuleType:
    importlib.import_module(f"{LIBRARY}.client")
    importlib.import_module(f"{LIBRARY}.config")
    return importlib.import_module(LIBRARY)


async def _load(config: ModuleType, fleet: KubernetesFleet, configuration: object) -> None:
    """Fill a configuration from a file or from the pod this runs in."""
    # The library takes a file that is missing for an empty one.
    if fleet.kubeconfig and not await asyncio.to_thread(_is_file, fleet.kubeconfig):
        raise ConfigurationError(
            f"kubernetes.kubeconfig: no credentials for the cluster: there is no file '{fleet.kubeconfig}': name one, "
            "or leave it out to use KUBECONFIG, the pod's service account or ~/.kube/config"
        )
    try:
        if _is_in_cluster(fleet):
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(
                config_file=fleet.kubeconfig or None,
                context=fleet.context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except Exception as error:  # the library looks at nothing before it uses it: a wrong file raises whatever it may
        raise ConfigurationError(
            f"kubernetes: no credentials for the cluster: {error}; set kubernetes.kubeconfig or KUBECONFIG, "
            "or run inside the cluster with a service account"
        ) from error


def _is_in_cluster(fleet: KubernetesFleet) -> bool:
    told_otherwise = fleet.kubeconfig or fleet.context or os.environ.get("KUBECONFIG")
    token = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    return not told_otherwise and token.exists()


def _is_file(path: str) -> bool:
    return Path(path).expanduser().is_file()
