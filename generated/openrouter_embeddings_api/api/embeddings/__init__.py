# DO NOT EDIT: written by `make generate` from openapi.yaml.
"""Contains endpoint functions for accessing the API"""
