"""Sending: the only room that has an HTTP client."""
