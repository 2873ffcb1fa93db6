from .annotate import Revision as Revision
from .annotate import annotate as annotate
from .clips import STILL_FRAMES as STILL_FRAMES
from .clips import Clip as Clip
from .clips import ClipRules as ClipRules
from .clips import VideoLength as VideoLength
from .corpus.beside import BesideTable as BesideTable
from .corpus.sources import Corpus as Corpus
from .corpus.sources import CorpusKind as CorpusKind
from .corpus.sources import Listing as Listing
from .corpus.sources import look_into as look_into
from .corpus.sources import open_corpus as open_corpus
from .growth.added_placements import PLACEMENT_OPTIONS as PLACEMENT_OPTIONS
from .growth.added_placements import PlacedBefore as PlacedBefore
from .growth.added_placements import grown_placements as grown_placements
from .growth.added_placements import planned_placements as planned_placements
from .growth.edited_annotations import write_revisions as write_revisions
from .growth.growth import Growth as Growth
from .growth.growth import UpdateCounts as UpdateCounts
from .growth.known_plan import plan_base as plan_base
from .growth.planned_samples import TAKEN_DOWN as TAKEN_DOWN
from .growth.planned_samples import PlannedRow as PlannedRow
from .growth.planned_samples import iter_planned as iter_planned
from .listing import MEDIA_EXTENSIONS as MEDIA_EXTENSIONS
from .listing import ListedMedia as ListedMedia
from .listing import ListingTotals as ListingTotals
from .listing import is_named_as_video as is_named_as_video
from .open_samples import open_source as open_source
from .open_samples import peek_source as peek_source
from .placement.assign import Assignment as Assignment
from .placement.assign import assign as assign
from .placement.buckets import bucket_table as bucket_table
from .placement.buckets import choose_bucket as choose_bucket
from .placement.buckets import fit as fit
from .placement.plan_base import PlanBase as PlanBase
from .placement.scanned import Captioned as Captioned
from .placement.scanned import ScannedMedia as ScannedMedia
from .placement.scanned import read_captions as read_captions
from .plan_options import PlanOptions as PlanOptions
from .read_sources import is_cell as is_cell
from .read_sources import read_source as read_source
from .read_sources import read_sources as read_sources
from .refused import refused_kinds as refused_kinds
from .role_geometry import cut_role as cut_role
from .role_geometry import own_buckets as own_buckets
from .what_changed import CorpusChanges as CorpusChanges
from .what_changed import corpus_changes as corpus_changes

__all__ = [
    "MEDIA_EXTENSIONS",
    "PLACEMENT_OPTIONS",
    "STILL_FRAMES",
    "TAKEN_DOWN",
    "Assignment",
    "BesideTable",
    "Captioned",
    "Clip",
    "ClipRules",
    "Corpus",
    "CorpusChanges",
    "CorpusKind",
    "Growth",
    "ListedMedia",
    "Listing",
    "ListingTotals",
    "PlacedBefore",
    "PlanBase",
    "PlanOptions",
    "PlannedRow",
    "Revision",
    "ScannedMedia",
    "UpdateCounts",
    "VideoLength",
    "annotate",
    "assign",
    "bucket_table",
    "choose_bucket",
    "corpus_changes",
    "cut_role",
    "fit",
    "grown_placements",
    "is_cell",
    "is_named_as_video",
    "iter_planned",
    "look_into",
    "open_corpus",
    "open_source",
    "own_buckets",
    "peek_source",
    "plan_base",
    "planned_placements",
    "read_captions",
    "read_source",
    "read_sources",
    "refused_kinds",
    "write_revisions",
]
