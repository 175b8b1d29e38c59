"""What a name was meant to be that a module did not find as it was imported.

Python tells it beside a traceback, which nobody is shown here.
"""

from __future__ import annotations

import builtins
import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bridge.process.raised import trace_of

_NAME_IN_MODULE: Final = re.compile(r"cannot import name '(\w+)' from")
_SUFFIX: Final = ".py"


def meant(error: BaseException, module: str) -> str | None:
    """Return the name that is nearest to what was not found while importing a module, if any."""
    try:
        return _nearest(error, module)
    except Exception:  # noqa: BLE001 - a hint: `dir` may run code of others
        return None


def _nearest(error: BaseException, module: str) -> str | None:
    match error:
        case ModuleNotFoundError(name=name):
            if name != module:
                return None
            if name.endswith(_SUFFIX):
                return name.removesuffix(_SUFFIX)
            return _near(name, _modules_here())
        case ImportError(name=str(source)):
            found = _NAME_IN_MODULE.match(str(error))
            return found and _near(found[1], dir(sys.modules[source]))
        case NameError(name=str(name)):
            trace = trace_of(error)
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            known = {} if trace is None else trace.tb_frame.f_globals | trace.tb_frame.f_locals
            return _near(name, [*known, *dir(builtins)])
        case AttributeError(name=str(name)):
            return _near(name, dir(error.obj))
    return None


def _modules_here() -> Iterable[str]:
    return [path.stem for path in Path.cwd().glob(f"*{_SUFFIX}")]


def _near(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)
