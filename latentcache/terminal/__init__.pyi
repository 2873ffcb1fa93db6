from .output import bytes_text as bytes_text
from .output import count_text as count_text
from .output import duration_text as duration_text
from .output import print_json as print_json
from .output import print_table as print_table
from .output import size_text as size_text
from .progress_bar import LineReporter as LineReporter
from .progress_bar import TerminalReporter as TerminalReporter
from .progress_bar import counting as counting
from .progress_bar import facts_of as facts_of
from .progress_bar import reporting as reporting
from .progress_bar import say_first as say_first

__all__ = [
    "LineReporter",
    "TerminalReporter",
    "bytes_text",
    "count_text",
    "counting",
    "duration_text",
    "facts_of",
    "print_json",
    "print_table",
    "reporting",
    "say_first",
    "size_text",
]
