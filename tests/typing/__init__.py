"""Code as a user writes it, for the type checker."""
