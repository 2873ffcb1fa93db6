from .compare_options import CompareOptions as CompareOptions
from .comparison import Comparison as Comparison
from .comparison import Row as Row
from .comparison import compare as compare
from .comparison_page import comparison_page as comparison_page
from .figures import FIGURES as FIGURES
from .figures import SECTIONS as SECTIONS
from .figures import Figure as Figure
from .measured import Measured as Measured
from .metrics.interval import Difference as Difference
from .metrics.interval import Estimate as Estimate
from .metrics.probe import ProbeOptions as ProbeOptions
from .pace import Expected as Expected
from .pace import Step as Step
from .remembered import Remembered as Remembered
from .remembered import recall as recall
from .run import run_comparison as run_comparison
from .spaces import LoadOptions as LoadOptions
from .spaces import Space as Space
from .spaces import open_spaces as open_spaces

__all__ = [
    "FIGURES",
    "SECTIONS",
    "CompareOptions",
    "Comparison",
    "Difference",
    "Estimate",
    "Expected",
    "Figure",
    "LoadOptions",
    "Measured",
    "ProbeOptions",
    "Remembered",
    "Row",
    "Space",
    "Step",
    "compare",
    "comparison_page",
    "open_spaces",
    "recall",
    "run_comparison",
]
