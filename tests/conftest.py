"""What every test may ask for."""

pytest_plugins = ["tests.postgres_fixtures", "tests.s3_fixtures"]
