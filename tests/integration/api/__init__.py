"""The API over a real socket, on real stores."""
