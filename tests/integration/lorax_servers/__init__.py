"""Tests of the door to LoRAX servers and of the runner, against servers that speak HTTP."""
