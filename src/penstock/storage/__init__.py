"""What survives a crash: the spool's interface and its back-ends."""
