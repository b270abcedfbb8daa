"""How the property tests of ingest run."""

from hypothesis import settings

# The machine that runs the tests may be busy: how long an example takes says nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
