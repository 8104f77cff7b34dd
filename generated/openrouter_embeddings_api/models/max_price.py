# DO NOT EDIT: written by `make generate` from openapi.yaml.
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="MaxPrice")


@_attrs_define
class MaxPrice:
    """The object specifying the maximum price you want to pay for this request. USD price per million tokens, for prompt
    and completion.

        Attributes:
            audio (Any | Unset):
            completion (Any | Unset):
            image (Any | Unset):
            prompt (str | Unset): Price per million prompt tokens
            request (Any | Unset):
    """

    audio: Any | Unset = UNSET
    completion: Any | Unset = UNSET
    image: Any | Unset = UNSET
    prompt: str | Unset = UNSET
    request: Any | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        audio = self.audio

        completion = self.completion

        image = self.image

        prompt = self.prompt

        request = self.request

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if audio is not UNSET:
            field_dict["audio"] = audio
        if completion is not UNSET:
            field_dict["completion"] = completion
        if image is not UNSET:
            field_dict["image"] = image
        if prompt is not UNSET:
            field_dict["prompt"] = prompt
        if request is not UNSET:
            field_dict["request"] = request

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        audio = d.pop("audio", UNSET)

        completion = d.pop("completion", UNSET)

        image = d.pop("image", UNSET)

        prompt = d.pop("prompt", UNSET)

        request = d.pop("request", UNSET)

        max_price = cls(
            audio=audio,
            completion=completion,
            image=image,
            prompt=prompt,
            request=request,
        )

        max_price.additional_properties = d
        return max_price

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
