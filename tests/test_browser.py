"""A traced cell in a real JupyterLab: live, saved and untrusted, exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser import Lab, browser, open_notebook, run_all
from tests.run import find_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="needs Chromium: apt-get install chromium"),
]

CELLS = [
    "%load_ext nbmem\nimport numpy as np",
    '%%memtrace -s -o t\na = np.ones(4_000_000)\nb = ((a*2)+(a*3))-(a*4)\ntext = "<script>document.title=1</script>"\ndel a',
    "t.plot()",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


def write(path: Path, cells: list[str]) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)


def contrast(page: Any, selector: str) -> float:
    """Give the lowest contrast ratio of the text in an element against the page behind it."""
    return float(page.evaluate(
        """selector => {
            const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = element => {
                for (let e = element; e; e = e.parentElement) {
                    const c = parse(getComputedStyle(e).backgroundColor);
                    if (c.length === 3 || c[3] > 0.99) return c;
                }
                return [255, 255, 255];
            };
            let worst = 99;
            for (const element of document.querySelector(selector).querySelectorAll('td, th, p, b, summary')) {
                if (!element.textContent.trim()) continue;
                const style = getComputedStyle(element);
                const back = behind(element), alpha = Number(style.opacity);
                const fore = parse(style.color).slice(0, 3).map((v, i) => v * alpha + back[i] * (1 - alpha));
                const [a, b] = [light(fore), light(back)].sort((p, q) => q - p);
                worst = Math.min(worst, (a + 0.05) / (b + 0.05));
            }
            return worst;
        }""", selector))  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_report_is_readable_in_the_theme_and_nothing_leaves_the_machine(
    lab: Lab, tmp_path: Path, dark: bool
) -> None:
    name = f"theme_{dark}.ipynb"
    write(lab.root / name, CELLS)
    lab.set("themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    with browser(tmp_path / "profile", dark=dark) as (page, refused):
        open_notebook(page, lab, name)
        run_all(page, len(CELLS))
        report = page.wait_for_selector(".nbmem table", timeout=30_000)
        assert "b = ((a*2)+(a*3))-(a*4)" in report.inner_text()
        assert "+30.5 MiB" in report.inner_text()
        picture = page.query_selector(".nbmem img")
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
        assert page.query_selector(".jp-OutputArea img[src^='data:image/png']") is not None
        assert contrast(page, ".nbmem") >= 4.5
        assert page.title() != "1"
        assert refused == []


def test_a_saved_report_that_nobody_trusts_is_still_whole(lab: Lab, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    path = lab.root / "untrusted.ipynb"
    write(path, CELLS)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120).execute()
    for cell in notebook.cells:
        cell.metadata["trusted"] = False
    nbformat.write(notebook, path)
    with browser(tmp_path / "profile") as (page, refused):
        open_notebook(page, lab, path.name)
        report = page.wait_for_selector(".nbmem table", timeout=30_000)
        assert "b = ((a*2)+(a*3))-(a*4)" in report.inner_text()
        bar = page.query_selector(".nbmem td div div")
        assert bar.evaluate("bar => bar.getBoundingClientRect().width") >= 1
        assert page.query_selector(".nbmem img").evaluate("image => image.naturalWidth") > 300
        assert page.query_selector(".nbmem details") is not None
        assert refused == []


def test_an_exported_page_shows_the_report_without_a_network(lab: Lab, tmp_path: Path) -> None:
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    exported = tmp_path / "page.html"
    exported.write_text(HTMLExporter(template_name="lab").from_notebook_node(notebook)[0])
    with browser(tmp_path / "profile") as (page, _refused):
        page.goto(exported.as_uri())
        report = page.wait_for_selector(".nbmem table", timeout=30_000)
        assert "b = ((a*2)+(a*3))-(a*4)" in report.inner_text()
        assert page.query_selector(".nbmem img").evaluate("image => image.naturalWidth") > 300
        # nbconvert's own page asks for its libraries; ours asks for nothing
        assert page.evaluate("() => document.querySelectorAll('.nbmem script, .nbmem link').length") == 0


def test_the_report_has_no_accessibility_violation(lab: Lab, tmp_path: Path) -> None:
    from axe_core_python.sync_playwright import Axe

    write(lab.root / "axe.ipynb", CELLS[:2])
    lab.set("themes", {"theme": "JupyterLab Light"})
    with browser(tmp_path / "profile") as (page, _):
        open_notebook(page, lab, "axe.ipynb")
        run_all(page, 2)
        page.wait_for_selector(".nbmem table", timeout=30_000)
        found = Axe().run(page, context=".nbmem", options={"runOnly": ["wcag2a", "wcag2aa"]})
        assert [
            f"{v['id']}: {v['help']} {[n['html'][:150] for n in v['nodes'][:3]]}" for v in found["violations"]
        ] == []


FLAME = [*CELLS[:1], CELLS[1].replace("%%memtrace -s", "%%memtrace -q"), "t.flame()"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_flame_graph_can_be_searched_and_hovered_and_is_seen_in_the_theme(
    lab: Lab, tmp_path: Path, dark: bool
) -> None:
    from io import BytesIO

    from matplotlib.image import imread

    name = f"flame_{dark}.ipynb"
    write(lab.root / name, FLAME)
    lab.set("themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    with browser(tmp_path / "profile", dark=dark) as (page, refused):
        open_notebook(page, lab, name)
        run_all(page, len(FLAME))
        picture = page.wait_for_selector(".nbmem-flame-inline svg", timeout=30_000)
        assert page.query_selector(".nbmem-flame-image").is_visible() is False
        # what the browser's own search goes by
        assert page.evaluate(
            "() => { getSelection().removeAllRanges(); return window.find('line 2: a = np.ones') }"
        )
        titles = picture.evaluate("svg => [...svg.querySelectorAll('title')].map(title => title.textContent)")
        (numpys,) = [title for title in titles if title.startswith("ones\n")]
        assert "numeric.py:" in numpys
        assert "30.5 MiB, " in numpys
        boxes = page.query_selector_all(".nbmem-flame-inline rect")
        whole, line = boxes[0].bounding_box(), boxes[1].bounding_box()
        assert whole["width"] > 600
        assert line["y"] == pytest.approx(whole["y"] + 19, abs=2)
        shot = imread(BytesIO(picture.screenshot()))
        height, width = shot.shape[:2]
        assert shot[height - 2, width - 2, :3].mean() == pytest.approx(
            0.07 if dark else 1.0, abs=0.05
        )  # no box is there
        red, _, blue = shot[int(19 * 1.7), 3, :3]
        assert blue > red + 0.2  # the lines' hue
        page.click(".nbmem details summary")
        assert "ones  numeric.py" in page.inner_text(".nbmem details pre")
        assert page.title() != "1"
        assert refused == []


def test_a_saved_flame_graph_that_nobody_trusts_shows_as_an_image_without_its_loose_text(
    lab: Lab, tmp_path: Path
) -> None:
    from nbclient import NotebookClient

    path = lab.root / "flame_untrusted.ipynb"
    write(path, FLAME)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120).execute()
    for cell in notebook.cells:
        cell.metadata["trusted"] = False
    nbformat.write(notebook, path)
    with browser(tmp_path / "profile") as (page, refused):
        open_notebook(page, lab, path.name)
        picture = page.wait_for_selector(".nbmem-flame-image img", timeout=30_000)
        assert picture.is_visible()
        assert picture.evaluate("image => image.naturalWidth") == 900
        assert page.query_selector(".nbmem svg") is None
        assert "numeric.py" not in page.inner_text(".nbmem")
        page.click(".nbmem details summary")
        assert "ones  numeric.py" in page.inner_text(".nbmem details pre")
        assert refused == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_heap_and_its_growth_are_readable_in_the_theme(lab: Lab, tmp_path: Path, dark: bool) -> None:
    name = f"heap_{dark}.ipynb"
    cells = [
        "%load_ext nbmem",
        "%memsnap -n 5",
        "%memsnap -q before\nclass Node: pass\n"
        "Node.__qualname__ = '<img src=x onerror=\"document.title=1\">'\nnodes = [Node() for _ in range(20_000)]",
        "%memdiff before -n 5",
    ]
    write(lab.root / name, cells)
    lab.set("themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    with browser(tmp_path / "profile", dark=dark) as (page, refused):
        open_notebook(page, lab, name)
        run_all(page, len(cells))
        page.wait_for_selector("text=growth of the heap", timeout=30_000)
        heap, growth = page.query_selector_all(".nbmem")
        assert "references" in heap.inner_text()
        assert "20,000" in growth.inner_text()
        assert '__main__.<img src=x onerror="document.title=1">' in growth.inner_text()
        assert "namespace of __main__" in growth.inner_text()
        assert page.query_selector(".nbmem img") is None
        heap.query_selector("summary").click()
        assert contrast(page, ".nbmem") >= 4.5
        assert page.title() != "1"
        assert refused == []


HELD = [
    "%load_ext nbmem\nimport numpy as np\nbig = np.ones(4_000_000)\nview = big[:10]\n"
    "cache = {'<img src=x>': [big], 'rows': [{'x': float(i)} for i in range(5000)]}",
    "%memvars",
    "%memsize [np.ones(100_000), [{'x': float(i)} for i in range(5000)]]",
]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tables_of_names_and_trees_of_sizes_are_readable_fit_and_unfold(
    lab: Lab, tmp_path: Path, dark: bool
) -> None:
    name = f"held_{dark}.ipynb"
    write(lab.root / name, HELD)
    lab.set("themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    with browser(tmp_path / "profile", dark=dark) as (page, refused):
        open_notebook(page, lab, name)
        run_all(page, len(HELD))
        page.wait_for_selector(".nbmem details", timeout=30_000)
        table, tree = page.query_selector_all(".nbmem")
        assert "view.base" in table.inner_text()
        assert "['<img src=x>']" in table.inner_text()
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
        assert "ndarray" in tree.inner_text()
        assert page.query_selector(".nbmem img") is None
        assert contrast(page, ".nbmem") >= 4.5
        assert refused == []
