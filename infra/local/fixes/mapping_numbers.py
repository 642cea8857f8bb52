"""Numbers of an event source mapping that come from a template parameter.

CloudFormation parameters are text; AWS converts them to the type of the property. Upstream: the provisioner
hands `"20"` on as text, and the first comparison with it ends every pass of the queue poller ("'>=' not supported
between instances of 'int' and 'str'"), so that no message is ever delivered.
"""

import inspect
from typing import Any

from ministack.services.cloudformation import provisioners

_MAPPING = "AWS::Lambda::EventSourceMapping"


def needed() -> bool:
    """True while a mapping is stored with the text it was given."""
    return "MaximumConcurrency" not in inspect.getsource(provisioners._RESOURCE_HANDLERS[_MAPPING]["create"])


def apply() -> None:
    """Convert before the stock handlers see the properties."""
    stock = provisioners._RESOURCE_HANDLERS[_MAPPING]

    def create(logical_id: str, properties: dict[str, Any], *rest: Any, **named: Any) -> Any:
        return stock["create"](logical_id, with_numbers(properties), *rest, **named)

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: Any, **named: Any) -> Any:
        return stock["update"](physical_id, with_numbers(old), with_numbers(new), *rest, **named)

    provisioners._RESOURCE_HANDLERS[_MAPPING] = {**stock, "create": create, "update": update}


def with_numbers(properties: dict[str, Any]) -> dict[str, Any]:
    """A copy whose concurrency is a number; the emulator itself converts the other numbers."""
    scaling = properties.get("ScalingConfig") or {}
    if "MaximumConcurrency" not in scaling:
        return properties
    return {**properties, "ScalingConfig": {**scaling, "MaximumConcurrency": int(scaling["MaximumConcurrency"])}}
