"""One list of behaviours for every implementation of a port."""
