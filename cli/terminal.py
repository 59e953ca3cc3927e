"""What the commands say to a person, and read of the environment."""

from __future__ import annotations

from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from core.contract.settings import Settings

console = Console()


def read_settings(**given: Any) -> Settings:
    """Settings from the environment, with the options that were given on top."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for fault in error.errors():
            name = f"ATTENTION_PLEASE_{fault['loc'][0]}".upper()
            console.print(f"{name}: {fault['msg']}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    except SettingsError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Say why in red, and end with 1."""
    console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)
