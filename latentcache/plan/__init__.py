"""From a corpus to a plan: sources, buckets, geometry, shards and rows."""

from latentcache.plan.assign import Assignment, assign
from latentcache.plan.beside import BesideTable
from latentcache.plan.buckets import bucket_lines, bucket_table, choose_bucket, fit
from latentcache.plan.changes import CorpusChanges, corpus_changes
from latentcache.plan.clips import STILL_FRAMES, Clip, ClipRules, VideoLength
from latentcache.plan.estimate import EncoderCost, PlanEstimate, estimate, reject_examples
from latentcache.plan.listing import ListedMedia, ListingTotals, is_named_as_video
from latentcache.plan.opening import open_source, peek_source
from latentcache.plan.options import PlanOptions
from latentcache.plan.reading import is_cell, read_source, read_sources
from latentcache.plan.scanned import Captioned, ScannedMedia, read_captions
from latentcache.plan.sources import Corpus, CorpusKind, Listing, look_into, open_corpus

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
