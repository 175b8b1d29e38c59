"""The command `bridge`: one module per command; standard output is data, standard error talk."""
