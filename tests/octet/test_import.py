from __future__ import annotations

from importlib import import_module

import octet


def test_a_public_function_stays_one_after_its_module_is_imported() -> None:
    for name in octet.__all__:
        member = getattr(octet, name)
        if callable(member) and hasattr(member, "__module__"):
            import_module(member.__module__)
            assert getattr(octet, name) is member
