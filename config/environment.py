"""Reads the environment; what is missing or unreadable ends the process with one sentence.

`SystemExit` and not `ImproperlyConfigured`: every entry (manage.py, the server and its workers, a shell) then stops the
same way, with the sentence on stderr, exit code 1 and no traceback.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import environ

_env = environ.Env()

# The words that mean yes and no. django-environ reads every other word as no, so that DEBUG=flase would pass unseen.
_YES = {"1", "true", "yes", "on"}
_NO = {"0", "false", "no", "off", ""}


def refuse(sentence: str) -> NoReturn:
    """Stop the process with this sentence on stderr and exit code 1."""
    raise SystemExit(sentence)


def load_file(default: Path) -> None:
    """Take variables that the environment does not set from the file ENV_FILE, or else from `default` if it exists."""
    path = Path(os.environ.get("ENV_FILE", default))
    if path.is_file():
        try:
            environ.Env.read_env(path)
        except (OSError, UnicodeDecodeError) as error:
            refuse(
                f"The settings file {path} cannot be read ({error}): give this user the right to read it or remove it."
            )


def require(*names: str) -> None:
    """Stop unless every one of these variables has a value."""
    missing = [name for name in names if not text(name)]
    if missing:
        listed = missing[0] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
        refuse(
            f"{listed} must be set: put a long random value for each into the environment or into a .env file beside "
            "manage.py (bin/run does so for a first start)."
        )


def text(name: str, default: str = "") -> str:
    """The variable as it stands, without outer white space."""
    return os.environ.get(name, default).strip()


def key(name: str) -> str:
    """The variable as a PEM key; backslash-n stands for a line end, as many hosts allow none in variables."""
    return text(name).replace("\\n", "\n")


def integer(name: str, default: int) -> int:
    """The variable as a whole number."""
    value = text(name)
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        refuse(f"{name} must be a whole number and is {value!r}: correct it or remove it for the default, {default}.")


def yes_or_no(name: str, *, default: bool) -> bool:
    """The variable as a truth value."""
    value = text(name, str(default)).lower()
    if value not in _YES | _NO:
        refuse(f"{name} must be true or false and is {value!r}: correct it or remove it for the default, {default}.")
    return value in _YES


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """The variable as a list: its parts between commas, empty ones left out."""
    parts = [part.strip() for part in text(name).split(",")]
    return [part for part in parts if part] or list(default)


def choice(name: str, options: Sequence[str]) -> str:
    """The variable as one of the options, the first of which is the default."""
    value = text(name) or options[0]
    if value not in options:
        refuse(f"{name} must be {' or '.join(options)} and is {value!r}: correct it or remove it for {options[0]}.")
    return value


def database(name: str, default: str) -> dict[str, Any]:
    """The variable as Django's description of a SQLite or PostgreSQL database."""
    url = text(name) or default
    scheme = url.partition("://")[0]
    if scheme not in {"sqlite", "postgres", "postgresql"}:
        refuse(f"{name} must begin with postgresql:// or sqlite:/// to name a database: correct or remove it (SQLite).")
    try:
        return dict(_env.db_url_config(url))
    except (ValueError, TypeError, environ.ImproperlyConfigured):
        # The error is not repeated: it may quote the password.
        refuse(f"{name} cannot be read as a database address: write it as postgresql://user:password@host:5432/name.")
