"""How long a program takes from its start to the first byte it sends: used by ADR 0001 and 0002.

    python3 infra/adr/measure/first_byte.py 30 'plain=./client BASE=http://127.0.0.1:{port}/v1' 'tls=./client BASE=https://127.0.0.1:{port}/v1'

Each case is `name=command VARIABLE=value ...`; {port} is a listener of ours, which never answers: with https the first byte is the
ClientHello, so it includes the first use of the random generator. The starts are interleaved (a b c a b c ...), so that a
slow moment of the machine hits all cases alike. Compare the rows of one run with each other, not with another machine's.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

_WARM_UP = 3  # starts that only fill the page cache


def first_byte_ms(command: list[str], variables: dict[str, str]) -> float:
    """Start the command and wait for its first byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = str(listener.getsockname()[1])
        environment = {"PATH": os.environ["PATH"]} | {k: v.replace("{port}", port) for k, v in variables.items()}
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(1)
                return (time.perf_counter() - start) * 1000
        finally:
            process.kill()
            process.wait()


def parse(argument: str) -> tuple[str, list[str], dict[str, str]]:
    """`name=command VARIABLE=value ...` as its three parts."""
    name, _, rest = argument.partition("=")
    words = rest.split()
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    return name, [word for word in words if "=" not in word], variables


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    count, cases = int(sys.argv[1]), [parse(argument) for argument in sys.argv[2:]]
    samples: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for turn in range(_WARM_UP + count):
        for name, command, variables in cases:
            took = first_byte_ms(command, variables)
            if turn >= _WARM_UP:
                samples[name].append(took)
    for name, values in samples.items():
        print(f"{name:20} median {statistics.median(values):7.2f} ms   min {min(values):7.2f}   max {max(values):7.2f}   n {len(values)}")


if __name__ == "__main__":
    main()
