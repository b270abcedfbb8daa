"""With what a LoRAX server is started for batch work, and whether it is what was asked for."""
