"""What we put around the emulator: environment, front, request log, server."""
