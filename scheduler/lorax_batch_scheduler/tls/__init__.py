"""Certificates and keys: read, checked before they are used, and read again when their files change."""
