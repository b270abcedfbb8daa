"""Servers in a Kubernetes cluster: slots are GPUs of a namespace, servers are Deployments."""

from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet, SlotClass, read_kubernetes_fleet
from lorax_batch_scheduler.server_hosts.kubernetes.host import KubernetesHost, kubernetes_host
from lorax_batch_scheduler.server_hosts.kubernetes.observation import ServerAddress, UrlOf, cluster_url

__all__ = [
    "KubernetesFleet",
    "KubernetesHost",
    "ServerAddress",
    "SlotClass",
    "UrlOf",
    "cluster_url",
    "kubernetes_host",
    "read_kubernetes_fleet",
]
