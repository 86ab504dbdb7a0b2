"""What the environment says: the settings of the service."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableError

from octet.errors import OctetError
from store.settings import Settings

_HINT = "docs/operations.md lists the settings; `octet-server up` needs none."


class SettingsError(OctetError):
    """The environment does not say what the service needs to know."""

    code = "settings"


def read_settings(**given: str) -> Settings:
    """The settings of the environment, with `given` in place of what it says.

    Raises:
        SettingsError: If one is missing or wrong.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type] # pydantic reads them as it reads the environment
    except ValidationError as error:
        wrong = "; ".join(f"OCTET_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise SettingsError(f"The environment does not fit: {wrong}.", hint=_HINT) from None
    except UnreadableError as error:  # of a list, which is JSON
        raise SettingsError(f"The environment does not fit: {error} is not JSON.", hint=_HINT) from None
