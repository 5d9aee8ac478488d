"""The files of the page, as they are: what no browser is needed for."""

import re
from pathlib import Path

import pytest

import flaskd_ctl

PAGE = Path(flaskd_ctl.__file__).parent / "web" / "page"
MODULES = sorted(PAGE.glob("*.js"))
DOCS = Path(__file__).parents[3] / "mkdocs.yml"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_text_never_becomes_markup(module: Path) -> None:
    """Paths, messages and names come from outside: no module makes elements of text, or code of it."""
    makers = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function"
    assert re.findall(makers, module.read_text()) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_what_is_imported_is_there(module: Path) -> None:
    """Modules come from the page itself, and have the names that others want of them."""
    for names, source in re.findall(
        r'^import (?:\{([^}]*)\} from )?"([^"]+)"', module.read_text(), re.MULTILINE
    ):
        assert source.startswith("./")
        imported = (PAGE / source).read_text()
        for name in (each.split(" as ")[0].strip() for each in names.split(",") if each.strip()):
            assert re.search(rf"^export (async )?(function|class|const) {name}\b", imported, re.MULTILINE), (
                name
            )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_what_is_imported_is_used(module: Path) -> None:
    text = module.read_text()
    for names in re.findall(r"^import \{([^}]*)\}", text, re.MULTILINE):
        for name in (each.split(" as ")[-1].strip() for each in names.split(",")):
            assert len(re.findall(rf"\b{name}\b", text)) > 1, name


def test_the_policy_forbids_nothing_that_the_document_has() -> None:
    """No inline script, style or handler, and nothing from elsewhere; each file that is named is there."""
    document = (PAGE / "index.html").read_text()
    assert re.findall(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=|https?://", document) == []
    named = re.findall(r'(?:href|src)="/page/([^"]+)"', document)
    assert {"main.js", "theme.js", "icon.svg"} < set(named)
    assert [name for name in named if not (PAGE / name).is_file()] == []


def test_each_style_has_a_colour_for_both_themes() -> None:
    """There is one table of colours; only the boxes of a flame graph are the same in both, and their text with them."""
    base = (PAGE / "base.css").read_text()
    table = base.partition("}")[0]
    colour = r"#[0-9a-f]{3,8}\b|\brgb|\bhsl"
    assert all("light-dark(" in line for line in table.splitlines() if re.search(colour, line))
    for style in PAGE.glob("*.css"):
        rest = style.read_text().removeprefix(table)
        lines = [line.strip() for line in rest.splitlines() if re.search(colour, line)]
        if style.name == "flames.css":
            assert "color: #15191e;" in lines
        else:
            assert [line for line in lines if "rgb(0 0 0 / " not in line] == [], style.name  # shadows


def test_the_documentation_has_the_pages_that_the_words_name() -> None:
    """Each number says where to read on."""
    words = (PAGE / "words.js").read_text()
    table = words[words.index("export const WORDS") : words.index("};")]
    constants = dict(re.findall(r'^const (\w+) = "([^"]+)";', words, re.MULTILINE))
    pages = set(re.findall(r'^ +- "?([^":]+)"?: \w\S*\.md$', DOCS.read_text(), re.MULTILINE))
    last = re.findall(r'(?:"([^"]+)"|([A-Z]+)),?\s*\],', table)
    named = {text or constants[constant] for text, constant in last}
    assert len(last) > 15
    assert named <= pages


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_read_in_one_go(module: Path) -> None:
    """It opens with what it is, and stays short."""
    text = module.read_text()
    assert text.startswith("// ")
    assert len(text.splitlines()) <= 250
    assert [line for line in text.splitlines() if len(line) > 128] == []
