"""Looking after jobs: which rows run where, results into PostgreSQL, every job to its end."""
