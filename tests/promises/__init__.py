"""The promises, tried on the whole program."""
