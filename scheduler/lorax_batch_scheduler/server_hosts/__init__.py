"""The kinds of fleets: where servers are started and stopped, each behind `ports.server_host.ServerHost`."""
