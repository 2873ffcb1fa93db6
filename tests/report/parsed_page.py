"""A page taken apart: whether its tags nest, what it refers to, and the words it shows."""

from html.parser import HTMLParser

VOID = ("img", "meta")
WORDED = ("alt", "aria-label")


class ParsedPage(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.text: list[str] = []

    @property
    def prose(self) -> str:
        return " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.text += [value or "" for name, value in attrs if name in WORDED]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> ParsedPage:
    parser = ParsedPage()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser
