"""The local AWS: MiniStack with our fixes, the front on PORT and the request log.

    env -i PATH="$PATH" HOME="$HOME" EMULATOR_PORT=4566 PORT=8000 STACK_DIR=$PWD/.local/stacks/dev \
        .local/venv/bin/python infra/local/emulator.py

Runs in the foreground until SIGTERM; everything is in memory and ends with it. Ready when
`GET /_ministack/health` on EMULATOR_PORT answers 200. EMULATOR_LOG_LEVEL=INFO shows what it does;
EMULATOR_MINUTE_SECONDS=15 shortens the minutes of alarms and schedules (alarms/minute.py).
Read next: gateway/environment.py (settings), gateway/server.py (listeners), fixes/ (what is missing upstream).
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gateway import environment, ports  # noqa: E402 (the path comes first)


def main() -> None:
    if find_spec("ministack") is None:
        environment.fail("the tools are not installed; run infra/local/install.sh run and use .local/venv/bin/python")
    try:
        settings = environment.read(os.environ)
        ports.check_free(settings)
    except (ValueError, RuntimeError) as error:
        environment.fail(str(error))
    environment.enter(settings)
    # Imported late: the emulator reads its settings while it is imported.
    from gateway import server

    try:
        server.run(settings)
    except (RuntimeError, OSError) as error:
        environment.fail(str(error))


if __name__ == "__main__":
    main()
