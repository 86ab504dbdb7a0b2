"""What the environment says: the settings of the service."""

from __future__ import annotations

from pydantic import ValidationError

from octet.errors import OctetError
from store.settings import Settings


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
        raise SettingsError(
            f"The environment is not complete: {wrong}.", hint="`octet-server up` needs none."
        ) from None
