"""The Channel Access server: sockets, circuits, channels, searches, what is sent and in which order."""
