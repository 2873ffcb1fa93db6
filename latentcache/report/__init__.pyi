from .figures import Floats as Floats
from .gallery import Gallery as Gallery
from .gallery import GalleryItem as GalleryItem
from .gallery import choose_gallery as choose_gallery
from .gallery import read_gallery as read_gallery
from .labelled_sheet import labelled_png as labelled_png
from .markup import Content as Content
from .markup import Markup as Markup
from .markup import element as element
from .markup import join as join
from .moving import animation as animation
from .moving import webp_bytes as webp_bytes
from .pages import Tile as Tile
from .pages import column_tiles as column_tiles
from .pages import page as page
from .pages import stats_page as stats_page
from .pictures import latent_picture as latent_picture
from .pictures import mosaic as mosaic
from .pictures import on_paper as on_paper
from .pictures import pair_grid as pair_grid
from .pictures import picture as picture
from .pictures import png_bytes as png_bytes
from .pictures import sheet as sheet
from .projection import project as project
from .read_facts import field_facts as field_facts
from .read_facts import read_store_page as read_store_page
from .reconstructions import read_reconstructions as read_reconstructions
from .reconstructions import title_of as title_of
from .sample_sheet import samples_png as samples_png
from .sections import buckets_section as buckets_section
from .sections import column_section as column_section
from .sections import figure as figure
from .sections import projection_section as projection_section
from .sections import reconstructions_section as reconstructions_section
from .sections import section as section
from .sections import statistics_sections as statistics_sections
from .sections import sum_section as sum_section
from .sections import tiles as tiles
from .store_facts import ChannelFacts as ChannelFacts
from .store_facts import FieldFacts as FieldFacts
from .store_facts import Projection as Projection
from .store_facts import Reconstruction as Reconstruction
from .store_facts import Rgb as Rgb
from .store_facts import StorePage as StorePage
from .store_report import store_report as store_report
from .svg import line as line
from .svg import rect as rect
from .svg import svg as svg
from .svg import text as text
from .tables import TableColumn as TableColumn
from .tables import long_table as long_table
from .tables import number_columns as number_columns
from .tables import table as table
from .tables import text_columns as text_columns
from .wording import TIMES as TIMES
from .wording import format_count as format_count
from .wording import format_number as format_number
from .wording import format_ratio as format_ratio
from .wording import format_seconds as format_seconds
from .wording import format_share as format_share

__all__ = [
    "TIMES",
    "ChannelFacts",
    "Content",
    "FieldFacts",
    "Floats",
    "Gallery",
    "GalleryItem",
    "Markup",
    "Projection",
    "Reconstruction",
    "Rgb",
    "StorePage",
    "TableColumn",
    "Tile",
    "animation",
    "buckets_section",
    "choose_gallery",
    "column_section",
    "column_tiles",
    "element",
    "field_facts",
    "figure",
    "format_count",
    "format_number",
    "format_ratio",
    "format_seconds",
    "format_share",
    "join",
    "labelled_png",
    "latent_picture",
    "line",
    "long_table",
    "mosaic",
    "number_columns",
    "on_paper",
    "page",
    "pair_grid",
    "picture",
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
    "table",
    "text",
    "text_columns",
    "tiles",
    "title_of",
    "webp_bytes",
]
