"""The service: gRPC in front of the scheduler, settings, wiring, and the command line."""
