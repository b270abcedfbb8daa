"""Copies of everything that a service keeps, and services made of them again."""
