"""Parameters inside what SAM itself must know, e.g. `DefaultAuthorizer: !Ref ApiAuth`.

AWS hands the values of the stack's parameters to the SAM transform. Upstream: the transform gets none, so that it takes
the defaults, and the local stack's `ApiAuth=NONE` would leave every route behind AWS_IAM.
"""

import inspect
from contextvars import ContextVar
from typing import Any

import ministack.services.cloudformation.changesets as changesets
import ministack.services.cloudformation.handlers as handlers
from ministack.services.cloudformation import engine
from samtranslator.translator import transform as sam

_values: ContextVar[dict[str, str]] = ContextVar("sam_parameters", default={})


def needed() -> bool:
    """True while the transform is called with an empty table of parameters."""
    return "_sam_transform(copy.deepcopy(template), {}," in inspect.getsource(engine._apply_transforms)


def apply() -> None:
    """Remember the operation's parameters around the stock function, and add them where SAM is called."""
    stock_transforms, stock_sam = engine._apply_transforms, sam.transform

    def apply_transforms(template: Any, provided: Any = None, previous: Any = None) -> Any:
        token = _values.set(engine._transform_parameters(template, provided, previous))
        try:
            return stock_transforms(template, provided, previous)
        finally:
            _values.reset(token)

    def transform(template: dict[str, Any], parameters: dict[str, Any], *rest: Any, **named: Any) -> Any:
        return stock_sam(template, {**_values.get(), **parameters}, *rest, **named)

    sam.transform = transform
    for module in (engine, handlers, changesets):
        if hasattr(module, "_apply_transforms"):
            module._apply_transforms = apply_transforms
