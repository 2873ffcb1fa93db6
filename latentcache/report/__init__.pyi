from .figures import Floats as Floats
from .gallery import Gallery as Gallery
from .gallery import GalleryItem as GalleryItem
from .gallery import choose_gallery as choose_gallery
from .gallery import read_gallery as read_gallery
from .labelled_sheet import labelled_png as labelled_png
from .moving import webp_bytes as webp_bytes
from .pages import Tile as Tile
from .pages import column_tiles as column_tiles
from .pages import page as page
from .pages import stats_page as stats_page
from .pictures import latent_picture as latent_picture
from .pictures import mosaic as mosaic
from .pictures import on_paper as on_paper
from .pictures import pair_grid as pair_grid
from .pictures import png_bytes as png_bytes
from .pictures import sheet as sheet
from .projection import project as project
from .read_facts import field_facts as field_facts
from .read_facts import read_store_page as read_store_page
from .reconstructions import read_reconstructions as read_reconstructions
from .reconstructions import title_of as title_of
from .rendering import Section as Section
from .rendering import section as section
from .sample_sheet import samples_png as samples_png
from .sections import buckets_section as buckets_section
from .sections import column_section as column_section
from .sections import projection_section as projection_section
from .sections import reconstructions_section as reconstructions_section
from .sections import statistics_sections as statistics_sections
from .sections import sum_section as sum_section
from .store_facts import FieldFacts as FieldFacts
from .store_facts import Projection as Projection
from .store_facts import Reconstruction as Reconstruction
from .store_facts import Rgb as Rgb
from .store_facts import StorePage as StorePage
from .store_report import store_report as store_report
from .svg import Mark as Mark
from .svg import line as line
from .svg import path as path
from .svg import rect as rect
from .svg import svg as svg
from .svg import text as text
from .wording import TIMES as TIMES
from .wording import format_count as format_count
from .wording import format_number as format_number
from .wording import format_ratio as format_ratio

__all__ = [
    "TIMES",
    "FieldFacts",
    "Floats",
    "Gallery",
    "GalleryItem",
    "Mark",
    "Projection",
    "Reconstruction",
    "Rgb",
    "Section",
    "StorePage",
    "Tile",
    "buckets_section",
    "choose_gallery",
    "column_section",
    "column_tiles",
    "field_facts",
    "format_count",
    "format_number",
    "format_ratio",
    "labelled_png",
    "latent_picture",
    "line",
    "mosaic",
    "on_paper",
    "page",
    "pair_grid",
    "path",
    "png_bytes",
    "project",
    "projection_section",
    "read_gallery",
    "read_reconstructions",
    "read_store_page",
    "reconstructions_section",
    "rect",
    "samples_png",
    "section",
    "sheet",
    "statistics_sections",
    "stats_page",
    "store_report",
    "sum_section",
    "svg",
    "text",
    "title_of",
    "webp_bytes",
]
