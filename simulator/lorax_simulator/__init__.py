"""A simulated LoRAX server to develop and test against."""
