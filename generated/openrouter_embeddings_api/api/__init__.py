# DO NOT EDIT: written by `make generate` from openapi.yaml.
"""Contains methods for accessing the API"""
