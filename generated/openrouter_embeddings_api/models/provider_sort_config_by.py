# DO NOT EDIT: written by `make generate` from openapi.yaml.
from typing import Literal

ProviderSortConfigBy = Literal["exacto", "latency", "price", "throughput"]

PROVIDER_SORT_CONFIG_BY_VALUES: set[ProviderSortConfigBy] = {
    "exacto",
    "latency",
    "price",
    "throughput",
}


def check_provider_sort_config_by(value: str) -> ProviderSortConfigBy:
    if value in PROVIDER_SORT_CONFIG_BY_VALUES:
        return value
    raise TypeError(
        f"Unexpected value {value!r}. Expected one of {PROVIDER_SORT_CONFIG_BY_VALUES!r}"
    )
