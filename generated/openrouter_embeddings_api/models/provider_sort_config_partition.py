# DO NOT EDIT: written by `make generate` from openapi.yaml.
from typing import Literal

ProviderSortConfigPartition = Literal["model", "none"]

PROVIDER_SORT_CONFIG_PARTITION_VALUES: set[ProviderSortConfigPartition] = {
    "model",
    "none",
}


def check_provider_sort_config_partition(value: str) -> ProviderSortConfigPartition:
    if value in PROVIDER_SORT_CONFIG_PARTITION_VALUES:
        return value
    raise TypeError(
        f"Unexpected value {value!r}. Expected one of {PROVIDER_SORT_CONFIG_PARTITION_VALUES!r}"
    )
