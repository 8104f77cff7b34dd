# DO NOT EDIT: written by `make generate` from openapi.yaml.
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.data_collection import DataCollection, check_data_collection
from ..models.provider_name import ProviderName, check_provider_name
from ..models.provider_sort import ProviderSort, check_provider_sort
from ..models.quantization import Quantization, check_quantization
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.max_price import MaxPrice
    from ..models.percentile_latency_cutoffs import PercentileLatencyCutoffs
    from ..models.percentile_throughput_cutoffs import PercentileThroughputCutoffs
    from ..models.provider_sort_config import ProviderSortConfig


T = TypeVar("T", bound="ProviderPreferences")


@_attrs_define
class ProviderPreferences:
    """
    Attributes:
        allow_fallbacks (bool | None | Unset): Whether to allow backup providers to serve requests
            - true: (default) when the primary provider (or your custom providers in "order") is unavailable, use the next
            best provider.
            - false: use only the primary/custom provider, and return the upstream error if it's unavailable.
        data_collection (DataCollection | None | Unset): Data collection setting. If no available model provider meets
            the requirement, your request will return an error.
            - allow: (default) allow providers which store user data non-transiently and may train on it

            - deny: use only providers which do not collect user data.
        enforce_distillable_text (bool | None | Unset): Whether to restrict routing to only models that allow text
            distillation. When true, only models where the author has allowed distillation will be used.
        ignore (list[ProviderName | str] | None | Unset): List of provider slugs to ignore. If provided, this list is
            merged with your account-wide ignored provider settings for this request.
        max_price (MaxPrice | Unset): The object specifying the maximum price you want to pay for this request. USD
            price per million tokens, for prompt and completion.
        only (list[ProviderName | str] | None | Unset): List of provider slugs to allow. If provided, this list is
            merged with your account-wide allowed provider settings for this request.
        order (list[ProviderName | str] | None | Unset): An ordered list of provider slugs. The router will attempt to
            use the first provider in the subset of this list that supports your requested model, and fall back to the next
            if it is unavailable. If no providers are available, the request will fail with an error message.
        preferred_max_latency (float | PercentileLatencyCutoffs | Unset): Preferred maximum latency (in seconds). Can be
            a number (applies to p50) or an object with percentile-specific cutoffs. Endpoints above the threshold(s) may
            still be used, but are deprioritized in routing. When using fallback models, this may cause a fallback model to
            be used instead of the primary model if it meets the threshold.
        preferred_min_throughput (float | PercentileThroughputCutoffs | Unset): Preferred minimum throughput (in tokens
            per second). Can be a number (applies to p50) or an object with percentile-specific cutoffs. Endpoints below the
            threshold(s) may still be used, but are deprioritized in routing. When using fallback models, this may cause a
            fallback model to be used instead of the primary model if it meets the threshold.
        quantizations (list[Quantization] | None | Unset): A list of quantization levels to filter the provider by.
        require_parameters (bool | None | Unset): Whether to filter providers to only those that support the parameters
            you've provided. If this setting is omitted or set to false, then providers will receive only the parameters
            they support, and ignore the rest.
        sort (ProviderSort | ProviderSortConfig | Unset): The sorting strategy to use for this request, if "order" is
            not specified. When set, no load balancing is performed.
        zdr (bool | None | Unset): Whether to restrict routing to only ZDR (Zero Data Retention) endpoints. When true,
            only endpoints that do not retain prompts will be used.
    """

    allow_fallbacks: bool | None | Unset = UNSET
    data_collection: DataCollection | None | Unset = UNSET
    enforce_distillable_text: bool | None | Unset = UNSET
    ignore: list[ProviderName | str] | None | Unset = UNSET
    max_price: MaxPrice | Unset = UNSET
    only: list[ProviderName | str] | None | Unset = UNSET
    order: list[ProviderName | str] | None | Unset = UNSET
    preferred_max_latency: float | PercentileLatencyCutoffs | Unset = UNSET
    preferred_min_throughput: float | PercentileThroughputCutoffs | Unset = UNSET
    quantizations: list[Quantization] | None | Unset = UNSET
    require_parameters: bool | None | Unset = UNSET
    sort: ProviderSort | ProviderSortConfig | Unset = UNSET
    zdr: bool | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.percentile_latency_cutoffs import PercentileLatencyCutoffs  # noqa: PLC0415
        from ..models.percentile_throughput_cutoffs import PercentileThroughputCutoffs  # noqa: PLC0415

        allow_fallbacks: bool | None | Unset
        if isinstance(self.allow_fallbacks, Unset):
            allow_fallbacks = UNSET
        else:
            allow_fallbacks = self.allow_fallbacks

        data_collection: None | str | Unset
        if isinstance(self.data_collection, Unset):
            data_collection = UNSET
        elif isinstance(self.data_collection, str):
            data_collection = self.data_collection
        else:
            data_collection = self.data_collection

        enforce_distillable_text: bool | None | Unset
        if isinstance(self.enforce_distillable_text, Unset):
            enforce_distillable_text = UNSET
        else:
            enforce_distillable_text = self.enforce_distillable_text

        ignore: list[str] | None | Unset
        if isinstance(self.ignore, Unset):
            ignore = UNSET
        elif isinstance(self.ignore, list):
            ignore = []
            for ignore_type_0_item_data in self.ignore:
                ignore_type_0_item: str
                if isinstance(ignore_type_0_item_data, str):
                    ignore_type_0_item = ignore_type_0_item_data
                else:
                    ignore_type_0_item = ignore_type_0_item_data
                ignore.append(ignore_type_0_item)

        else:
            ignore = self.ignore

        max_price: dict[str, Any] | Unset = UNSET
        if not isinstance(self.max_price, Unset):
            max_price = self.max_price.to_dict()

        only: list[str] | None | Unset
        if isinstance(self.only, Unset):
            only = UNSET
        elif isinstance(self.only, list):
            only = []
            for only_type_0_item_data in self.only:
                only_type_0_item: str
                if isinstance(only_type_0_item_data, str):
                    only_type_0_item = only_type_0_item_data
                else:
                    only_type_0_item = only_type_0_item_data
                only.append(only_type_0_item)

        else:
            only = self.only

        order: list[str] | None | Unset
        if isinstance(self.order, Unset):
            order = UNSET
        elif isinstance(self.order, list):
            order = []
            for order_type_0_item_data in self.order:
                order_type_0_item: str
                if isinstance(order_type_0_item_data, str):
                    order_type_0_item = order_type_0_item_data
                else:
                    order_type_0_item = order_type_0_item_data
                order.append(order_type_0_item)

        else:
            order = self.order

        preferred_max_latency: dict[str, Any] | float | Unset
        if isinstance(self.preferred_max_latency, Unset):
            preferred_max_latency = UNSET
        elif isinstance(self.preferred_max_latency, PercentileLatencyCutoffs):
            preferred_max_latency = self.preferred_max_latency.to_dict()
        else:
            preferred_max_latency = self.preferred_max_latency

        preferred_min_throughput: dict[str, Any] | float | Unset
        if isinstance(self.preferred_min_throughput, Unset):
            preferred_min_throughput = UNSET
        elif isinstance(self.preferred_min_throughput, PercentileThroughputCutoffs):
            preferred_min_throughput = self.preferred_min_throughput.to_dict()
        else:
            preferred_min_throughput = self.preferred_min_throughput

        quantizations: list[str] | None | Unset
        if isinstance(self.quantizations, Unset):
            quantizations = UNSET
        elif isinstance(self.quantizations, list):
            quantizations = []
            for quantizations_type_0_item_data in self.quantizations:
                quantizations_type_0_item: str = quantizations_type_0_item_data
                quantizations.append(quantizations_type_0_item)

        else:
            quantizations = self.quantizations

        require_parameters: bool | None | Unset
        if isinstance(self.require_parameters, Unset):
            require_parameters = UNSET
        else:
            require_parameters = self.require_parameters

        sort: dict[str, Any] | str | Unset
        if isinstance(self.sort, Unset):
            sort = UNSET
        elif isinstance(self.sort, str):
            sort = self.sort
        else:
            sort = self.sort.to_dict()

        zdr: bool | None | Unset
        if isinstance(self.zdr, Unset):
            zdr = UNSET
        else:
            zdr = self.zdr

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if allow_fallbacks is not UNSET:
            field_dict["allow_fallbacks"] = allow_fallbacks
        if data_collection is not UNSET:
            field_dict["data_collection"] = data_collection
        if enforce_distillable_text is not UNSET:
            field_dict["enforce_distillable_text"] = enforce_distillable_text
        if ignore is not UNSET:
            field_dict["ignore"] = ignore
        if max_price is not UNSET:
            field_dict["max_price"] = max_price
        if only is not UNSET:
            field_dict["only"] = only
        if order is not UNSET:
            field_dict["order"] = order
        if preferred_max_latency is not UNSET:
            field_dict["preferred_max_latency"] = preferred_max_latency
        if preferred_min_throughput is not UNSET:
            field_dict["preferred_min_throughput"] = preferred_min_throughput
        if quantizations is not UNSET:
            field_dict["quantizations"] = quantizations
        if require_parameters is not UNSET:
            field_dict["require_parameters"] = require_parameters
        if sort is not UNSET:
            field_dict["sort"] = sort
        if zdr is not UNSET:
            field_dict["zdr"] = zdr

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.max_price import MaxPrice  # noqa: PLC0415
        from ..models.percentile_latency_cutoffs import PercentileLatencyCutoffs  # noqa: PLC0415
        from ..models.percentile_throughput_cutoffs import PercentileThroughputCutoffs  # noqa: PLC0415
        from ..models.provider_sort_config import ProviderSortConfig  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_allow_fallbacks(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        allow_fallbacks = _parse_allow_fallbacks(d.pop("allow_fallbacks", UNSET))

        def _parse_data_collection(data: object) -> DataCollection | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                data_collection_type_0 = check_data_collection(data)

                return data_collection_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(DataCollection | None | Unset, data)

        data_collection = _parse_data_collection(d.pop("data_collection", UNSET))

        def _parse_enforce_distillable_text(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        enforce_distillable_text = _parse_enforce_distillable_text(
            d.pop("enforce_distillable_text", UNSET)
        )

        def _parse_ignore(data: object) -> list[ProviderName | str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                ignore_type_0 = []
                _ignore_type_0 = data
                for ignore_type_0_item_data in _ignore_type_0:

                    def _parse_ignore_type_0_item(data: object) -> ProviderName | str:
                        try:
                            if not isinstance(data, str):
                                raise TypeError()
                            ignore_type_0_item_type_0 = check_provider_name(data)

                            return ignore_type_0_item_type_0
                        except (TypeError, ValueError, AttributeError, KeyError):
                            pass
                        return cast(ProviderName | str, data)

                    ignore_type_0_item = _parse_ignore_type_0_item(
                        ignore_type_0_item_data
                    )

                    ignore_type_0.append(ignore_type_0_item)

                return ignore_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[ProviderName | str] | None | Unset, data)

        ignore = _parse_ignore(d.pop("ignore", UNSET))

        _max_price = d.pop("max_price", UNSET)
        max_price: MaxPrice | Unset
        if isinstance(_max_price, Unset):
            max_price = UNSET
        else:
            max_price = MaxPrice.from_dict(_max_price)

        def _parse_only(data: object) -> list[ProviderName | str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                only_type_0 = []
                _only_type_0 = data
                for only_type_0_item_data in _only_type_0:

                    def _parse_only_type_0_item(data: object) -> ProviderName | str:
                        try:
                            if not isinstance(data, str):
                                raise TypeError()
                            only_type_0_item_type_0 = check_provider_name(data)

                            return only_type_0_item_type_0
                        except (TypeError, ValueError, AttributeError, KeyError):
                            pass
                        return cast(ProviderName | str, data)

                    only_type_0_item = _parse_only_type_0_item(only_type_0_item_data)

                    only_type_0.append(only_type_0_item)

                return only_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[ProviderName | str] | None | Unset, data)

        only = _parse_only(d.pop("only", UNSET))

        def _parse_order(data: object) -> list[ProviderName | str] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                order_type_0 = []
                _order_type_0 = data
                for order_type_0_item_data in _order_type_0:

                    def _parse_order_type_0_item(data: object) -> ProviderName | str:
                        try:
                            if not isinstance(data, str):
                                raise TypeError()
                            order_type_0_item_type_0 = check_provider_name(data)

                            return order_type_0_item_type_0
                        except (TypeError, ValueError, AttributeError, KeyError):
                            pass
                        return cast(ProviderName | str, data)

                    order_type_0_item = _parse_order_type_0_item(order_type_0_item_data)

                    order_type_0.append(order_type_0_item)

                return order_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[ProviderName | str] | None | Unset, data)

        order = _parse_order(d.pop("order", UNSET))

        def _parse_preferred_max_latency(
            data: object,
        ) -> float | PercentileLatencyCutoffs | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                preferred_max_latency_type_1 = PercentileLatencyCutoffs.from_dict(data)

                return preferred_max_latency_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(float | PercentileLatencyCutoffs | Unset, data)

        preferred_max_latency = _parse_preferred_max_latency(
            d.pop("preferred_max_latency", UNSET)
        )

        def _parse_preferred_min_throughput(
            data: object,
        ) -> float | PercentileThroughputCutoffs | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                preferred_min_throughput_type_1 = PercentileThroughputCutoffs.from_dict(
                    data
                )

                return preferred_min_throughput_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(float | PercentileThroughputCutoffs | Unset, data)

        preferred_min_throughput = _parse_preferred_min_throughput(
            d.pop("preferred_min_throughput", UNSET)
        )

        def _parse_quantizations(data: object) -> list[Quantization] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                quantizations_type_0 = []
                _quantizations_type_0 = data
                for quantizations_type_0_item_data in _quantizations_type_0:
                    quantizations_type_0_item = check_quantization(
                        quantizations_type_0_item_data
                    )

                    quantizations_type_0.append(quantizations_type_0_item)

                return quantizations_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[Quantization] | None | Unset, data)

        quantizations = _parse_quantizations(d.pop("quantizations", UNSET))

        def _parse_require_parameters(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        require_parameters = _parse_require_parameters(
            d.pop("require_parameters", UNSET)
        )

        def _parse_sort(data: object) -> ProviderSort | ProviderSortConfig | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                sort_type_0 = check_provider_sort(data)

                return sort_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            sort_type_1 = ProviderSortConfig.from_dict(data)

            return sort_type_1

        sort = _parse_sort(d.pop("sort", UNSET))

        def _parse_zdr(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        zdr = _parse_zdr(d.pop("zdr", UNSET))

        provider_preferences = cls(
            allow_fallbacks=allow_fallbacks,
            data_collection=data_collection,
            enforce_distillable_text=enforce_distillable_text,
            ignore=ignore,
            max_price=max_price,
            only=only,
            order=order,
            preferred_max_latency=preferred_max_latency,
            preferred_min_throughput=preferred_min_throughput,
            quantizations=quantizations,
            require_parameters=require_parameters,
            sort=sort,
            zdr=zdr,
        )

        provider_preferences.additional_properties = d
        return provider_preferences

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
