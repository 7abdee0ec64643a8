"""What goes over the wire: protocol machines that turn octets into events and decisions into octets, without I/O, clock or log."""
