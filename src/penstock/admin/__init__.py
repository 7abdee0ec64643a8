"""Administration of a running worker: what may be asked of it, how it answers, and the socket by which it is asked."""
