"""Runs the emulator: one process, two listeners (AWS on EMULATOR_PORT, the front on PORT).

Must be imported after `environment.enter`, because the emulator reads its settings at import time.
"""

import asyncio
import logging
import resource
import signal
from typing import Any

import ministack.app
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.core import lambda_runtime

import fixes
from alarms import minute
from gateway import environment
from gateway.deliveries import Deliveries
from gateway.environment import Settings
from gateway.faults import FaultyCalls, Faults
from gateway.front import App, Front, Receive, Scope, Send
from gateway.ports import HOST
from gateway.request_log import RequestLog, Ring


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then end the function processes too."""
    _raise_open_files_limit()
    minute.lasts(settings.minute_seconds)
    fixes.apply_all()
    # Warns once per deploy about metrics that the SAM translator would send to its makers.
    logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"{HOST}:{settings.emulator_port}", f"{HOST}:{settings.front_port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = settings.log_level
    await serve(application(settings), config, shutdown_trigger=stop.wait)
    lambda_runtime.reset()


def application(settings: Settings) -> App:
    """The ASGI app of both listeners; the port a request came in on decides."""
    faults = Faults()
    Deliveries(faults).install()
    emulator = RequestLog(FaultyCalls(ministack.app.app, faults), Ring())
    front = Front(ministack.app.app, settings.stack_dir / "outputs.json")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await ministack.app.app(scope, receive, _after_startup(send))
            return
        server = scope.get("server") or (None, None)
        target = front if server[1] == settings.front_port else emulator
        await target(scope, receive, send)

    return app


def _after_startup(send: Send) -> Send:
    """The emulator reads its last settings when it starts up; then functions must not see them."""

    async def sent(message: dict[str, Any]) -> None:
        if message["type"] == "lifespan.startup.complete":
            environment.leave_no_settings_behind()
        await send(message)

    return sent


def _raise_open_files_limit() -> None:
    """Each warm function and each client connection is a file; 1024 is soon reached in a load test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
