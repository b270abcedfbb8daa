"""The client for plain threads: on gRPC's own threads, so it works in notebooks and beside any event loop."""
