"""`python -m tests.faults.chaos`: kills a running service by a seed, and checks that no row suffers."""
