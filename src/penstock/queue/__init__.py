"""When, and how fast: retry policy and the scheduler."""
