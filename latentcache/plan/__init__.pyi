from .assign import Assignment as Assignment
from .assign import assign as assign
from .beside import BesideTable as BesideTable
from .buckets import bucket_lines as bucket_lines
from .buckets import bucket_table as bucket_table
from .buckets import choose_bucket as choose_bucket
from .buckets import fit as fit
from .changes import CorpusChanges as CorpusChanges
from .changes import corpus_changes as corpus_changes
from .clips import STILL_FRAMES as STILL_FRAMES
from .clips import Clip as Clip
from .clips import ClipRules as ClipRules
from .clips import VideoLength as VideoLength
from .estimate import EncoderCost as EncoderCost
from .estimate import PlanEstimate as PlanEstimate
from .estimate import estimate as estimate
from .estimate import reject_examples as reject_examples
from .listing import ListedMedia as ListedMedia
from .listing import ListingTotals as ListingTotals
from .listing import is_named_as_video as is_named_as_video
from .opening import open_source as open_source
from .opening import peek_source as peek_source
from .options import PlanOptions as PlanOptions
from .reading import is_cell as is_cell
from .reading import read_source as read_source
from .reading import read_sources as read_sources
from .scanned import Captioned as Captioned
from .scanned import ScannedMedia as ScannedMedia
from .scanned import read_captions as read_captions
from .sources import Corpus as Corpus
from .sources import CorpusKind as CorpusKind
from .sources import Listing as Listing
from .sources import look_into as look_into
from .sources import open_corpus as open_corpus

__all__ = [
    "STILL_FRAMES",
    "Assignment",
    "BesideTable",
    "Captioned",
    "Clip",
    "ClipRules",
    "Corpus",
    "CorpusChanges",
    "CorpusKind",
    "EncoderCost",
    "ListedMedia",
    "Listing",
    "ListingTotals",
    "PlanEstimate",
    "PlanOptions",
    "ScannedMedia",
    "VideoLength",
    "assign",
    "bucket_lines",
    "bucket_table",
    "choose_bucket",
    "corpus_changes",
    "estimate",
    "fit",
    "is_cell",
    "is_named_as_video",
    "look_into",
    "open_corpus",
    "open_source",
    "peek_source",
    "read_captions",
    "read_source",
    "read_sources",
    "reject_examples",
]
