# DO NOT EDIT: written by `make generate` from openapi.yaml.
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.encoding_format import EncodingFormat, check_encoding_format
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.multimodal_input import MultimodalInput
    from ..models.provider_preferences import ProviderPreferences


T = TypeVar("T", bound="EmbeddingRequest")


@_attrs_define
class EmbeddingRequest:
    """
    Attributes:
        input_ (list[float | list[float] | MultimodalInput | str] | str): Text, token, or multimodal input(s) to embed
        model (str): The model to use for embeddings
        dimensions (int | Unset): The number of dimensions for the output embeddings
        encoding_format (EncodingFormat | Unset): The format of the output embeddings
        input_type (str | Unset): The type of input (e.g. search_query, search_document)
        provider (ProviderPreferences | Unset):
        user (str | Unset): A unique identifier for the end-user
    """

    input_: list[float | list[float] | MultimodalInput | str] | str
    model: str
    dimensions: int | Unset = UNSET
    encoding_format: EncodingFormat | Unset = UNSET
    input_type: str | Unset = UNSET
    provider: ProviderPreferences | Unset = UNSET
    user: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.multimodal_input import MultimodalInput  # noqa: PLC0415

        input_: list[dict[str, Any] | float | list[float] | str] | str
        if isinstance(self.input_, list):
            input_ = []
            for input_type_1_item_data in self.input_:
                input_type_1_item: dict[str, Any] | float | list[float] | str
                if isinstance(input_type_1_item_data, list):
                    input_type_1_item = input_type_1_item_data

                elif isinstance(input_type_1_item_data, MultimodalInput):
                    input_type_1_item = input_type_1_item_data.to_dict()
                else:
                    input_type_1_item = input_type_1_item_data
                input_.append(input_type_1_item)

        else:
            input_ = self.input_

        model = self.model

        dimensions = self.dimensions

        encoding_format: str | Unset = UNSET
        if not isinstance(self.encoding_format, Unset):
            encoding_format = self.encoding_format

        input_type = self.input_type

        provider: dict[str, Any] | Unset = UNSET
        if not isinstance(self.provider, Unset):
            provider = self.provider.to_dict()

        user = self.user

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "input": input_,
                "model": model,
            }
        )
        if dimensions is not UNSET:
            field_dict["dimensions"] = dimensions
        if encoding_format is not UNSET:
            field_dict["encoding_format"] = encoding_format
        if input_type is not UNSET:
            field_dict["input_type"] = input_type
        if provider is not UNSET:
            field_dict["provider"] = provider
        if user is not UNSET:
            field_dict["user"] = user

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.multimodal_input import MultimodalInput  # noqa: PLC0415
        from ..models.provider_preferences import ProviderPreferences  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_input_(
            data: object,
        ) -> list[float | list[float] | MultimodalInput | str] | str:
            try:
                if not isinstance(data, list):
                    raise TypeError()
                input_type_1 = []
                _input_type_1 = data
                for input_type_1_item_data in _input_type_1:

                    def _parse_input_type_1_item(
                        data: object,
                    ) -> float | list[float] | MultimodalInput | str:
                        try:
                            if not isinstance(data, list):
                                raise TypeError()
                            input_type_1_item_type_2 = cast(list[float], data)

                            return input_type_1_item_type_2
                        except (TypeError, ValueError, AttributeError, KeyError):
                            pass
                        try:
                            if not isinstance(data, dict):
                                raise TypeError()
                            input_type_1_item_type_3 = MultimodalInput.from_dict(data)

                            return input_type_1_item_type_3
                        except (TypeError, ValueError, AttributeError, KeyError):
                            pass
                        return cast(float | list[float] | MultimodalInput | str, data)

                    input_type_1_item = _parse_input_type_1_item(input_type_1_item_data)

                    input_type_1.append(input_type_1_item)

                return input_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[float | list[float] | MultimodalInput | str] | str, data)

        input_ = _parse_input_(d.pop("input"))

        model = d.pop("model")

        dimensions = d.pop("dimensions", UNSET)

        _encoding_format = d.pop("encoding_format", UNSET)
        encoding_format: EncodingFormat | Unset
        if isinstance(_encoding_format, Unset):
            encoding_format = UNSET
        else:
            encoding_format = check_encoding_format(_encoding_format)

        input_type = d.pop("input_type", UNSET)

        _provider = d.pop("provider", UNSET)
        provider: ProviderPreferences | Unset
        if isinstance(_provider, Unset):
            provider = UNSET
        else:
            provider = ProviderPreferences.from_dict(_provider)

        user = d.pop("user", UNSET)

        embedding_request = cls(
            input_=input_,
            model=model,
            dimensions=dimensions,
            encoding_format=encoding_format,
            input_type=input_type,
            provider=provider,
            user=user,
        )

        embedding_request.additional_properties = d
        return embedding_request

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
