"""The API's pure parts."""
