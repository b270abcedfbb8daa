"""The clients that are measured, each a process of its own: `python -m bench.peers.NAME --url URL --rows N ...`."""
