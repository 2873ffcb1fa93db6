from .exporter import measured as measured
from .figures import FIGURES as FIGURES
from .figures import Figure as Figure

__all__ = ["FIGURES", "Figure", "measured"]
