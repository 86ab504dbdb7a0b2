"""Who may come in, and as whom: keys, the page's cookie, scopes, rates. Everything is shut that is not opened here."""

from api.doors.caller import Admin, Caller, Identity, admitted, identity_of_key
from api.doors.door import REFUSALS, install, limit_rate

__all__ = ["REFUSALS", "Admin", "Caller", "Identity", "admitted", "identity_of_key", "install", "limit_rate"]
