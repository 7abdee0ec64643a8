"""Sinks in processes of their own, which can be limited, killed and started again without harm to the server.

``app`` makes a ``SinkProcess`` for each plug with ``run_in = "process"``; what runs in the other process begins in ``child``.
"""

from .sink_process import SinkProcess

__all__ = ["SinkProcess"]
