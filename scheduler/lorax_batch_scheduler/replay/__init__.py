"""Replays traces in virtual time: the planner of the service against a model of LoRAX servers, without either."""
