"""What a sweep would be, before it is paid for."""
