"""Telling state changes of jobs by HTTP: what is sent, to where, when, and what an answer means."""
