from .dct import dct_matrix as dct_matrix
from .declared import EncoderFacts as EncoderFacts
from .declared import posterior_fields as posterior_fields
from .discrete.quantizers import TokenizerParts as TokenizerParts
from .discrete.quantizers import tokenizer_of as tokenizer_of
from .frame_chunks import Fields as Fields
from .frame_chunks import GroupCoder as GroupCoder
from .frame_chunks import GroupStream as GroupStream
from .frame_chunks import encode_groups as encode_groups
from .identity import encoding_identity as encoding_identity
from .indices import index_dtype as index_dtype
from .indices import integer_fault as integer_fault
from .load_options import EncoderOptions as EncoderOptions
from .load_options import choose_device as choose_device
from .masks.mask_declared import on_grid_of as on_grid_of
from .policy import effective_policy as effective_policy
from .policy import stored_fields as stored_fields
from .posterior import Piece as Piece
from .posterior import apply_policy as apply_policy
from .posterior import stack_fields as stack_fields
from .registry import check_encoder as check_encoder
from .registry import check_encoder_name as check_encoder_name
from .registry import declared_facts as declared_facts
from .registry import list_encoders as list_encoders
from .registry import load_encoder as load_encoder
from .registry import named_encoder as named_encoder
from .registry import parse_knobs as parse_knobs
from .registry import plugin_encoders as plugin_encoders
from .registry import warm_up as warm_up
from .shapes import check_batch as check_batch
from .shapes import check_can_feed as check_can_feed
from .shapes import field_shape as field_shape
from .shapes import make_metas as make_metas
from .shapes import member_bytes as member_bytes
from .shapes import sample_bytes as sample_bytes
from .spec import PLAIN_SCALAR as PLAIN_SCALAR
from .spec import Codebook as Codebook
from .spec import DecodingEncoder as DecodingEncoder
from .spec import Encoder as Encoder
from .spec import EncoderSpec as EncoderSpec
from .spec import EncoderStream as EncoderStream
from .spec import Normalizer as Normalizer
from .spec import NormalizerOp as NormalizerOp
from .spec import PosteriorPolicy as PosteriorPolicy
from .spec import QuantizingEncoder as QuantizingEncoder
from .spec import SampleMeta as SampleMeta
from .spec import StreamingEncoder as StreamingEncoder
from .spec import TextEncoder as TextEncoder

__all__ = [
    "PLAIN_SCALAR",
    "Codebook",
    "DecodingEncoder",
    "Encoder",
    "EncoderFacts",
    "EncoderOptions",
    "EncoderSpec",
    "EncoderStream",
    "Fields",
    "GroupCoder",
    "GroupStream",
    "Normalizer",
    "NormalizerOp",
    "Piece",
    "PosteriorPolicy",
    "QuantizingEncoder",
    "SampleMeta",
    "StreamingEncoder",
    "TextEncoder",
    "TokenizerParts",
    "apply_policy",
    "check_batch",
    "check_can_feed",
    "check_encoder",
    "check_encoder_name",
    "choose_device",
    "dct_matrix",
    "declared_facts",
    "effective_policy",
    "encode_groups",
    "encoding_identity",
    "field_shape",
    "index_dtype",
    "integer_fault",
    "list_encoders",
    "load_encoder",
    "make_metas",
    "member_bytes",
    "named_encoder",
    "on_grid_of",
    "parse_knobs",
    "plugin_encoders",
    "posterior_fields",
    "sample_bytes",
    "stack_fields",
    "stored_fields",
    "tokenizer_of",
    "warm_up",
]
