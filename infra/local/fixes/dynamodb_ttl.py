"""`TimeToLiveSpecification` of a table in a template.

Upstream: the CloudFormation provisioner ignores it, so items that expire on AWS stay for ever and
`DescribeTimeToLive` says DISABLED. This hands the setting to the emulator's own TTL, which works.
"""

import inspect
from typing import Any

from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

_TABLE = "AWS::DynamoDB::Table"


def needed() -> bool:
    """True while the provisioner's source does not know the property."""
    create = provisioners._RESOURCE_HANDLERS[_TABLE]["create"]
    return "TimeToLiveSpecification" not in inspect.getsource(create)


def apply() -> None:
    """Wrap the table's create and update handlers."""
    stock = provisioners._RESOURCE_HANDLERS[_TABLE]

    def create(logical_id: str, properties: dict[str, Any], *rest: Any, **named: Any) -> Any:
        made = stock["create"](logical_id, properties, *rest, **named)
        _set(made[0], properties)
        return made

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], *rest: Any, **named: Any) -> Any:
        made = stock["update"](physical_id, old, new, *rest, **named)
        _set(made[0], new)
        return made

    provisioners._RESOURCE_HANDLERS[_TABLE] = {**stock, "create": create, "update": update}


def _set(table: str, properties: dict[str, Any]) -> None:
    specification = properties.get("TimeToLiveSpecification") or {}
    # A template's booleans can arrive as text.
    if str(specification.get("Enabled", "")).lower() == "true":
        setting = {"TimeToLiveStatus": "ENABLED", "AttributeName": specification["AttributeName"]}
        dynamodb._ttl_settings[table] = setting
    else:
        dynamodb._ttl_settings.pop(table, None)
