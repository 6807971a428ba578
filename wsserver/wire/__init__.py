"""RFC 6455 bytes without I/O, and the sockets that carry them."""
