"""Reading a page back: its elements, their attributes and the text that a reader sees."""

from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
UNSEEN = {"style", "script", "title"}


class PageParser(HTMLParser):
    """Collects elements and visible text; `faults` tells of end tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> inside {self.open[-1:]}, line {self.getpos()[0]}")
            return
        self.open.pop()

    def handle_data(self, data):
        if data.strip() and not (self.open and self.open[-1] in UNSEEN):
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        """All visible text, one space between its parts."""
        return " ".join(" ".join(self.words).split())

    def found(self, tag: str) -> list[dict[str, str]]:
        """Attributes of each element of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]
