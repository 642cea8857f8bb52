"""Checks that both ports are free, before anything of a stack that may be running is touched."""

import socket

from gateway.environment import Settings

HOST = "127.0.0.1"


def check_free(settings: Settings) -> None:
    """Raise RuntimeError that names the port and its variable."""
    for name, port in (("EMULATOR_PORT", settings.emulator_port), ("PORT", settings.front_port)):
        with socket.socket() as probe:
            # As the server itself binds: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise RuntimeError(f"port {port} ({name}) cannot be used: {error.strerror}") from error
