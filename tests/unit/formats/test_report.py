"""The report page: it needs nothing but itself, and its figures are those of the release."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from lxml import html
from PIL import Image

from lae_tasks.formats import about, charts, figures, report
from lae_tasks.formats.figures import Objects, objects_of
from lae_tasks.formats.scenes import outline
from lae_tasks.releases.diff import Changes, Diff
from lae_tasks.releases.manifest import ReliabilityEntry
from lae_tasks.releases.reading import load_release, read_dataset


@pytest.fixture(scope="module")
def page(published):
    return html.fromstring((published.folder / report.PATH).read_bytes())


def words(element):
    return re.sub(r"\s+", " ", element.text_content())


def test_it_loads_nothing(published, page):
    text = (published.folder / report.PATH).read_text()
    assert not re.findall(r"https?://", text)
    assert not re.findall(r"url\((?!#)|@import|<script|<link|<iframe", text)
    for source in page.xpath("//@src"):
        assert source.startswith("data:image/jpeg;base64,")
    assert page.xpath("//@href") == ["data_docs/index.html"]


def test_it_tells_the_release_s_figures(published, page):
    manifest, told = published.manifest, words(page)
    assert page.findtext(".//title") == f"{manifest.title} {manifest.version}"
    for part in (manifest.digest, manifest.reason, f"against {manifest.parent}", "CC-BY-4.0"):
        assert part in told
    whole = manifest.whole
    said = f"{100 * whole.precision:.1f} % ({100 * whole.low:.1f} to {100 * whole.high:.1f})"
    assert said in told
    tiles = [words(each).strip() for each in page.xpath("//div[@class='tiles']/div")]
    assert f"{manifest.counts['objects']}objects" in tiles
    steps = {
        each.findtext("span"): each.findtext("b")
        for each in page.xpath("(//ul[@class='steps'])[1]/li")
    }
    state = published.world.state
    assert steps["regions found"] == str(len(state.regions))
    assert steps["named"] == str(len(state.labels))
    assert steps["objects in the release"] == str(manifest.counts["objects"])


def test_what_is_left_out_and_what_is_in_adds_up(published, page):
    (table,) = page.xpath("//section[h2='What came in, and what is left']//table")
    rows = {row[0].text: int(row[1].text) for row in table.iter("tr") if len(row) == 3}
    assert rows["waiting for a steward"] == published.manifest.left_out["waiting for a steward"]
    assert rows["rejected by rule likelihood"] == published.manifest.left_out["rejected by a rule"]
    assert rows["drawn by a steward"] == 1
    # All regions, and the one that a steward drew.
    assert sum(rows.values()) == len(published.world.state.regions) + 1


def test_each_category_has_its_objects_of_each_split(published, page):
    (table,) = page.xpath("//h3[.='Objects per category']/following-sibling::div[1]/table")
    rows = [[words(cell).strip() for cell in row] for row in table.iter("tr")]
    splits = rows[0][3:]
    assert splits == [*published.manifest.splits]
    objects = {each.name: each.objects for each in published.manifest.categories if each.objects}
    assert {row[0]: int(row[2]) for row in rows[1:]} == objects
    for row in rows[1:]:
        assert sum(map(int, row[3:])) == int(row[2])


def test_pictures_are_jpeg_and_small(page):
    uris = page.xpath("//img/@src")
    assert uris and sum(map(len, uris)) < 1_500_000
    for uri in uris:
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            assert picture.format == "JPEG" and max(picture.size) > 400


def test_pictures_of_noise_are_made_smaller_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, format="PNG")
    assert len(report._jpeg_uri(sink.getvalue(), 100_000)) <= 100_000


def test_scenes_are_on_the_map_in_the_colour_of_their_split(published, page):
    places = page.xpath("//section[h2='Where the scenes are']//g")
    images = load_release(published.world.store.uri, published.manifest.version).images
    split_of = {image.scene_key: image.split for image in images if image.place}
    assert {each.findtext("title"): each.get("class") for each in places} == {
        f"{key}: {split}": f"place {split}" for key, split in split_of.items()
    }
    assert len(places) == 4 and len(set(split_of.values())) > 1


def test_changes_have_their_cause(published, page):
    (table,) = page.xpath("//table[@class='changes']")
    rows = {tuple(words(cell) for cell in row)[:3]: words(row[3]) for row in table.iter("tr")}
    ((what, cause),) = [(key, rows[key]) for key in rows if key[0] == "relabelled"]
    assert what[1].endswith("→ windmill") and "by a steward on" in cause
    assert ("added", "ship", "drawn-by-hand") in rows


def test_twenty_changes_are_shown_of_each_kind_some():
    rows = [
        {"region_id": str(number), "category": "ship", "from": "[]", "to": "[]", "cause": ""}
        for number in range(50)
    ]
    many, two = (Changes(pa.Table.from_pylist(rows[:count])) for count in (50, 2))
    shown = report.first_changes(Diff(added=many, removed=two, moved=many))
    kinds = [each["kind"] for each in shown]
    assert kinds == ["added"] * 9 + ["removed"] * 2 + ["moved"] * 9


def test_the_same_release_gives_the_same_files(published, tmp_path):
    world, manifest = published.world, published.manifest
    dataset = read_dataset(world.store, manifest)
    for name in ("one", "other"):
        (tmp_path / name / "tables").mkdir(parents=True)
        for table in (published.folder / "tables").iterdir():
            (tmp_path / name / "tables" / table.name).write_bytes(table.read_bytes())
        about.write(
            *(tmp_path / name, manifest, dataset, world.config, Diff(), world.store, world.state)
        )
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*")}
    assert files == {p.relative_to(tmp_path / "other") for p in (tmp_path / "other").rglob("*")}
    for path in files:
        one, other = tmp_path / "one" / path, tmp_path / "other" / path
        assert one.is_dir() or one.read_bytes() == other.read_bytes()


def test_an_object_on_several_images_counts_once(published):
    dataset = read_dataset(published.world.store, published.manifest)
    objects = objects_of(dataset)
    assert len(objects.image) == published.manifest.counts["objects"] < len(dataset.annotations)


def objects_with(**columns):
    n = len(next(iter(columns.values())))
    values = {
        "category": np.zeros(n, np.int64),
        "image": np.zeros(n, np.int64),
        "by_steward": np.zeros(n, bool),
        "score": np.ones(n),
        "side_px": np.ones(n),
        "area_m2": np.full(n, np.nan),
        "region_id": None,
    }
    return Objects(**values | {name: np.array(value) for name, value in columns.items()})


def test_a_value_on_an_edge_is_in_the_bin_that_begins_there():
    found = figures.confidence_histogram(objects_with(score=[0.7, 0.75, 0.7999, 0.95, 1.0]))
    counts = zip(found.edges[:-1], found.counts, strict=True)
    counted = {round(edge, 2): count for edge, count in counts}
    assert counted[0.7] == 1 and counted[0.75] == 2 and counted[0.95] == 2
    found = figures.side_histogram(objects_with(side_px=[8.0, 15.9, 16.0, 40.0]))
    assert (found.edges, found.counts) == ((8, 16, 32, 64), (2, 1, 1))
    found = figures.area_histogram(objects_with(area_m2=[np.nan, 3.0, 29.0, 30.0]))
    assert (found.edges, found.counts) == ((3, 10, 30, 100), (1, 1, 1))


def test_what_is_not_known_has_no_chart():
    nothing = objects_with(score=np.empty(0))
    assert figures.confidence_histogram(nothing) is None
    assert figures.side_histogram(nothing) is None
    assert figures.area_histogram(objects_with(area_m2=[np.nan])) is None
    assert charts.footprints([]) is None


def test_a_footprint_across_the_date_line_is_cut_in_two():
    found = outline([(179.9, 10.0), (-179.8, 10.0), (-179.8, 9.9), (179.9, 9.9)])
    assert found["type"] == "MultiPolygon"
    spans = [
        (min(east for east, _ in ring), max(east for east, _ in ring))
        for (ring,) in found["coordinates"]
    ]
    assert spans == [(179.9, 180.0), (-180.0, -179.8)]
    assert outline([(1.0, 1.0)] * 4) is None


def test_counts_are_short():
    assert [charts.short(n) for n in (7, 950, 1234, 9_970, 99_950, 3_400_000)] == [
        *("7", "950", "1.2k", "10k", "100k", "3.4M")
    ]


def test_reliability_has_a_point_for_each_bin():
    entry = ReliabilityEntry(
        calibration_id="c",
        night="2026-01-01",
        said=(0.2, 0.9),
        right=(0.3, 0.92),
        count=(10, 90),
        calibration_error=0.03,
    )
    drawn = html.fromstring(charts.reliability(entry))
    told = [each.findtext("title") for each in drawn.iter("circle")]
    assert told == ["said 20 %, right 30 % of 10", "said 90 %, right 92 % of 90"]
