# DO NOT EDIT: written by `make generate` from openapi.yaml.
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.service_unavailable_response_error_data import (
        ServiceUnavailableResponseErrorData,
    )


T = TypeVar("T", bound="ServiceUnavailableResponse")


@_attrs_define
class ServiceUnavailableResponse:
    """Service Unavailable - Service temporarily unavailable

    Attributes:
        error (ServiceUnavailableResponseErrorData): Error data for ServiceUnavailableResponse
        user_id (None | str | Unset):
    """

    error: ServiceUnavailableResponseErrorData
    user_id: None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        error = self.error.to_dict()

        user_id: None | str | Unset
        if isinstance(self.user_id, Unset):
            user_id = UNSET
        else:
            user_id = self.user_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "error": error,
            }
        )
        if user_id is not UNSET:
            field_dict["user_id"] = user_id

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_unavailable_response_error_data import (
            ServiceUnavailableResponseErrorData,  # noqa: PLC0415
        )

        d = dict(src_dict)
        error = ServiceUnavailableResponseErrorData.from_dict(d.pop("error"))

        def _parse_user_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        user_id = _parse_user_id(d.pop("user_id", UNSET))

        service_unavailable_response = cls(
            error=error,
            user_id=user_id,
        )

        service_unavailable_response.additional_properties = d
        return service_unavailable_response

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
