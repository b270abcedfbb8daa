"""The rehearsal of a trace, without a service."""
