"""The viewer's file: complete in itself, nothing of a model's text is markup, filters and order work in a browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.report.page import write_report

SETTINGS = ImageSettings(max_pixels=196 * 140)


class Reader(HTMLParser):
    """Collects tags with their attributes, and the visible text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(episodes, tmp_path_factory):
    return write_report(
        episodes, tmp_path_factory.mktemp("report") / "new" / "r.html", title="A <title>", settings=SETTINGS
    )


@pytest.fixture(scope="module")
def reader(page):
    found = Reader()
    found.feed(page.read_text("utf-8"))
    return found


def test_text_of_models_and_data_is_text(reader):
    text = "".join(reader.text)
    for piece in (
        "<b>bold</b> <script>alert(1)</script>",
        '<i>x</i> & "',
        "<img src=x onerror=alert(1)> {{ 7 * 7 }}",
    ):
        assert piece in text
    assert "A <title>" in text
    names = [tag for tag, _ in reader.tags]
    assert names.count("script") == 2
    assert "i" not in [tag for tag, attributes in reader.tags if "class" not in attributes]
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)


def test_the_file_needs_no_other_file_and_allows_its_own_script_only(page, reader):
    html = page.read_text("utf-8")
    links = [
        attributes[name] for _, attributes in reader.tags for name in ("src", "href") if name in attributes
    ]
    assert links == []
    policy = next(attributes["content"] for tag, attributes in reader.tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (digest,) = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    assert f"script-src 'sha256-{digest}'" in policy
    assert [file.name for file in page.parent.iterdir()] == ["r.html"]


def test_every_image_is_in_the_file_once(page, reader):
    html = page.read_text("utf-8")
    images = json.loads(re.search(r'id="images">(.*?)</script>', html, re.DOTALL)[1])
    keys = [
        attributes["data-key"] for tag, attributes in reader.tags if tag == "img" and "data-key" in attributes
    ]
    assert set(keys) == set(images)
    assert len(keys) == 6
    assert all(html.count(uri) == 1 for uri in images.values())


def test_cards_carry_what_they_are_sorted_by(reader, episodes):
    cards = [attributes for tag, attributes in reader.tags if tag == "article"]
    assert [card["data-reward"] for card in cards] == ["1.0", "0.25", "0.5", ""]
    assert [card["data-zooms"] for card in cards] == ["1", "1", "0", "0"]
    assert [int(card["data-tokens"]) for card in cards] == [episode.num_tokens for episode in episodes]


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a report of no episodes; roll some out first"):
        write_report([], tmp_path / "r.html")


CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ),
]
CASES = [
    ({}, "0123"),
    ({"sort": "reward"}, "3120"),
    ({"sort": "reward", "direction": "-1"}, "0213"),
    ({"sort": "tokens"}, "3201"),
    ({"sort": "zooms", "direction": "-1"}, "0123"),
    ({"zooms": "0"}, "23"),
    ({"least": "0.4", "most": "0.9"}, "2"),
    ({"status": "out of tokens"}, "3"),
    ({"search": " KITE at"}, "01"),
    ({"search": "nothing"}, ""),
]
SCRIPT = """<script>
const orders = CASES.map((values) => {
  bar.reset();
  for (const [name, value] of Object.entries(values)) bar.elements[name].value = value;
  bar.dispatchEvent(new Event("input"));
  const shown = [...list.children].filter((card) => !card.hidden);
  return [shown.map((card) => card.dataset.order).join(""), document.getElementById("count").textContent];
});
document.title = JSON.stringify(orders);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_filters_and_order_in_a_browser(page, tmp_path):
    script = SCRIPT.replace("CASES", json.dumps([values for values, _ in CASES]))
    html = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text("utf-8")).replace("</body>", script)
    file = tmp_path / "r.html"
    file.write_text(html, "utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", result.stdout)[1]
    assert json.loads(title) == [[order, f"{len(order)} of 4"] for _, order in CASES]
