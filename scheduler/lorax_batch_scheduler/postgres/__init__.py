"""PostgreSQL: the embedded server, migrations, and every SQL statement."""
