"""``mypyc_attr``: options of classes in modules that may be compiled (``setup.py``).

``mypyc_attr(allow_interpreted_subclasses=True)`` is for a class from which interpreted ones derive:
the tests' stand-ins, for example. Without a compiler it does nothing, and needs no package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_options):
        """Leave the class as it is."""
        return lambda cls: cls
