"""Starting one server: four calls, of which only the last makes a pod."""

from datetime import datetime

from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.server_hosts.kubernetes import manifests
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_api import ClusterApi, Resource
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import ClusterError
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet, SlotClass
from lorax_batch_scheduler.server_hosts.kubernetes.naming import SERVER_LABEL, Object, ServerName, label


async def launch_server(
    api: ClusterApi, fleet: KubernetesFleet, slots: SlotClass, name: ServerName, launch: Launch, start_time: datetime
) -> None:
    """Make the objects of a server.

    The Deployment is created with no pods, which claims the slot; then Secret and Service, which need its uid to be
    owned by it; then it gets its pod. Whoever dies between leaves a Deployment without pods: an unfinished start.

    Raises:
        SlotOccupiedError: another server has the slot, perhaps one that another service has just started.
        FleetError: the cluster refuses it; what was made so far is still there.
    """
    claim = manifests.deployment(fleet, slots, name, launch, start_time=start_time, replicas=0)
    try:
        owner = await _claim(api, name, claim)
        await api.apply(Resource.SECRET, manifests.secret(fleet, name, launch, {**owner}))
        await api.apply(Resource.SERVICE, manifests.service(fleet, name, {**owner}))
        uid = owner["metadata"]["uid"]
        full = manifests.deployment(fleet, slots, name, launch, start_time=start_time, replicas=1, uid=uid)
        await api.apply(Resource.DEPLOYMENT, full)
    except ClusterError as error:
        raise FleetError(f"slot {name.slot_id}: can't start {launch.model}: {error}") from error


async def _claim(api: ClusterApi, name: ServerName, claim: manifests.Manifest) -> Object:
    try:
        return await api.create(Resource.DEPLOYMENT, claim)
    except ClusterError as error:
        if not error.already_exists:
            raise
    there = await api.get(Resource.DEPLOYMENT, name.deployment)
    if label(there, SERVER_LABEL) != name.server_id:  # ours: the answer to an earlier attempt was lost
        raise SlotOccupiedError(name.slot_id, label(there, SERVER_LABEL) or name.deployment)
    return there
