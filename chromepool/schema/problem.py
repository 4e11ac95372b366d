"""The body of every error that the API answers with."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chromepool.schema.fields import about


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, about("URN that ends with the code.")]
    title: Annotated[str, about("The code in words.")]
    status: Annotated[int, about("HTTP status.")]
    code: Annotated[str, about("Stable name of the error, for programs to match on.")]
    detail: Annotated[str, about("Failure and its cause in words.")]
    remedy: Annotated[str, about("Advice on how to proceed; left out where there is none.")] = ""
