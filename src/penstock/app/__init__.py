"""The composition root: builds one worker from a configuration, and runs it.

This is the only place that knows which storage back-end there is, and the only one that puts the layers together.
"""

from .worker import WorkerPlace as WorkerPlace
from .worker import run_worker as run_worker
