"""The API's own document is valid and complete."""

from __future__ import annotations

import json

import openapi_spec_validator

from chromepool.gateway.http import openapi
from chromepool.schema.routes import CONTROL


def test_the_document_is_valid_openapi() -> None:
    document = json.loads(openapi.document())
    assert document["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)


def test_the_document_has_every_route_under_a_name_of_its_own() -> None:
    paths = json.loads(openapi.document())["paths"]
    found = [(m.upper(), path, told) for path, item in paths.items() for m, told in item.items()]
    assert sorted((m, path) for m, path, _ in found) == sorted((r.method, r.path) for r in CONTROL)
    assert len({told["operationId"] for _, _, told in found}) == len(found)
