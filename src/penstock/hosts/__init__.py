"""Sockets in: listeners and the protocols behind them."""
