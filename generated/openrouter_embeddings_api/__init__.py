# DO NOT EDIT: written by `make generate` from openapi.yaml.
"""A client library for accessing OpenRouter API"""

from .client import AuthenticatedClient, Client

__all__ = (
    "AuthenticatedClient",
    "Client",
)
