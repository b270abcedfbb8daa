"""An exhaustive model of how leases, commits and endings work together; see `lease_model`."""
