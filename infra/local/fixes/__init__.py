"""What the pinned emulator lacks and the product needs: one module per gap.

Each module says what is missing upstream and has two functions: `needed()` tells whether the emulator
still lacks it, `apply()` adds it. They touch private names of the emulator, so its version is pinned exactly;
a fix that an upgrade makes needless stops the emulator with its name, and tests/test_fixes_are_needed.py too.
"""

from types import ModuleType

from fixes import (
    alarm_evaluation,
    code_cache,
    composite_alarms,
    dynamodb_ttl,
    failed_init_logs,
    mapping_numbers,
    metric_points,
    metrics_of_functions,
    metrics_of_gateway,
    metrics_of_logs,
    metrics_of_queues,
    rest_function_errors,
    rest_gateway_responses,
    rest_streaming,
    runtime_latency,
    sam_parameters,
    short_minutes,
    sqs_locking,
    sqs_move_task,
)

# The lock covers the actions that are registered when it is applied; the move task takes it by itself. Requests are counted around
# everything else that is done with them. At a tick queues are measured before alarms are judged, and composite alarms act last.
ALL: tuple[ModuleType, ...] = (
    sqs_locking,
    sqs_move_task,
    sam_parameters,
    mapping_numbers,
    dynamodb_ttl,
    rest_gateway_responses,
    rest_function_errors,
    runtime_latency,
    rest_streaming,
    code_cache,
    failed_init_logs,
    metric_points,
    metrics_of_logs,
    metrics_of_functions,
    metrics_of_gateway,
    metrics_of_queues,
    alarm_evaluation,
    composite_alarms,
    short_minutes,
)


def apply_all() -> None:
    """Apply every fix; an upgrade that makes one needless is an error, so that it gets deleted."""
    for fix in ALL:
        if not fix.needed():
            raise RuntimeError(f"the emulator now does what {fix.__name__} adds; delete that fix")
        fix.apply()
