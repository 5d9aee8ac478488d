"""Errors as responses: the status that goes with each, and its JSON."""

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from flaskd_ctl.errors import ControlError

STATUS: Final = {
    "parse_error": 400,
    "invalid_request": 400,
    "invalid_params": 400,
    "not_permitted": 403,
    "unknown_method": 404,
    "not_found": 404,
    "wrong_state": 409,
    "too_large": 413,
    "internal": 502,
    "failed": 502,
    "timeout": 504,
}
"""The status of an error that the instance has answered; others say that it cannot be asked."""

CANNOT_BE_ASKED: Final = 503


class Refused(HTTPException):
    """A request that the server itself refuses."""

    def __init__(self, status: int, name: str, message: str, hint: str = "") -> None:
        super().__init__(status, message)
        self.name = name
        self.hint = hint


def refused(
    status: int, name: str, message: str, hint: str = "", data: dict[str, Any] | None = None
) -> JSONResponse:
    """Make the response of an error."""
    error = {"name": name, "message": message, "hint": hint} | ({"data": data} if data else {})
    return JSONResponse({"error": error}, status_code=status)


def bug() -> JSONResponse:
    """Make the response of an error that was not foreseen; its traceback is logged."""
    return refused(500, "internal", "this is a bug in flaskd_ctl", "its output on stderr has the traceback")


def failure(error: ControlError) -> JSONResponse:
    """Make the response of an error of the instance, or of the way to it."""
    return refused(STATUS.get(error.name, CANNOT_BE_ASKED), error.name, str(error), error.hint, error.data)
