"""Fleets in Kubernetes, on a fake API server with the real client."""
