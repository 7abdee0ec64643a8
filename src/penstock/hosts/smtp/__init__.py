"""The SMTP host: drives the sans-I/O server machine, asks the sinks, and obeys."""
