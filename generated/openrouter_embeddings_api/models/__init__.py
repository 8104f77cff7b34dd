# DO NOT EDIT: written by `make generate` from openapi.yaml.
"""Contains all the data models used in inputs/outputs"""

from .bad_gateway_metadata import BadGatewayMetadata
from .bad_gateway_response import BadGatewayResponse
from .bad_gateway_response_error_data import BadGatewayResponseErrorData
from .bad_request_metadata import BadRequestMetadata
from .bad_request_response import BadRequestResponse
from .bad_request_response_error_data import BadRequestResponseErrorData
from .content_part_image import ContentPartImage
from .content_part_text import ContentPartText
from .data_collection import DataCollection
from .embedding_item import EmbeddingItem
from .embedding_request import EmbeddingRequest
from .embedding_response import EmbeddingResponse
from .encoding_format import EncodingFormat
from .image_url import ImageUrl
from .internal_server_metadata import InternalServerMetadata
from .internal_server_response import InternalServerResponse
from .internal_server_response_error_data import InternalServerResponseErrorData
from .max_price import MaxPrice
from .multimodal_input import MultimodalInput
from .not_found_metadata import NotFoundMetadata
from .not_found_response import NotFoundResponse
from .not_found_response_error_data import NotFoundResponseErrorData
from .payment_required_metadata import PaymentRequiredMetadata
from .payment_required_response import PaymentRequiredResponse
from .payment_required_response_error_data import PaymentRequiredResponseErrorData
from .percentile_latency_cutoffs import PercentileLatencyCutoffs
from .percentile_throughput_cutoffs import PercentileThroughputCutoffs
from .prompt_tokens_details import PromptTokensDetails
from .provider_name import ProviderName
from .provider_preferences import ProviderPreferences
from .provider_sort import ProviderSort
from .provider_sort_config import ProviderSortConfig
from .provider_sort_config_by import ProviderSortConfigBy
from .provider_sort_config_partition import ProviderSortConfigPartition
from .quantization import Quantization
from .service_unavailable_metadata import ServiceUnavailableMetadata
from .service_unavailable_response import ServiceUnavailableResponse
from .service_unavailable_response_error_data import ServiceUnavailableResponseErrorData
from .too_many_requests_metadata import TooManyRequestsMetadata
from .too_many_requests_response import TooManyRequestsResponse
from .too_many_requests_response_error_data import TooManyRequestsResponseErrorData
from .unauthorized_metadata import UnauthorizedMetadata
from .unauthorized_response import UnauthorizedResponse
from .unauthorized_response_error_data import UnauthorizedResponseErrorData
from .usage import Usage

__all__ = (
    "BadGatewayMetadata",
    "BadGatewayResponse",
    "BadGatewayResponseErrorData",
    "BadRequestMetadata",
    "BadRequestResponse",
    "BadRequestResponseErrorData",
    "ContentPartImage",
    "ContentPartText",
    "DataCollection",
    "EmbeddingItem",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EncodingFormat",
    "ImageUrl",
    "InternalServerMetadata",
    "InternalServerResponse",
    "InternalServerResponseErrorData",
    "MaxPrice",
    "MultimodalInput",
    "NotFoundMetadata",
    "NotFoundResponse",
    "NotFoundResponseErrorData",
    "PaymentRequiredMetadata",
    "PaymentRequiredResponse",
    "PaymentRequiredResponseErrorData",
    "PercentileLatencyCutoffs",
    "PercentileThroughputCutoffs",
    "PromptTokensDetails",
    "ProviderName",
    "ProviderPreferences",
    "ProviderSort",
    "ProviderSortConfig",
    "ProviderSortConfigBy",
    "ProviderSortConfigPartition",
    "Quantization",
    "ServiceUnavailableMetadata",
    "ServiceUnavailableResponse",
    "ServiceUnavailableResponseErrorData",
    "TooManyRequestsMetadata",
    "TooManyRequestsResponse",
    "TooManyRequestsResponseErrorData",
    "UnauthorizedMetadata",
    "UnauthorizedResponse",
    "UnauthorizedResponseErrorData",
    "Usage",
)
