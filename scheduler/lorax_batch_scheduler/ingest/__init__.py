"""Datasets in: bytes are parsed, checked line by line, normalised for LoRAX and grouped by adapter into chunks."""
