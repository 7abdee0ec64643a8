"""The test kit: sinks asked without a server, and a whole server in one process with a clock of its own."""
