"""Sockets out: from a next hop to the addresses behind it, and over connections to the servers there."""
