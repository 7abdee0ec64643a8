"""Sinks in processes of their own, which can be limited, killed and started again without harm to the server."""
