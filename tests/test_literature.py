"""Tests of nlmeta.experiments.literature: figures of others, with their source and certainty."""

import math

import pytest

from nlmeta.data import DATASETS
from nlmeta.experiments import literature, published

PAPERS = [*literature.TITLES, "others"]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_file_keeps_the_rules(paper):
    figures = published(paper)
    assert list(figures) == literature.COLUMNS
    assert set(figures["dataset"]) <= set(DATASETS)
    assert len(figures) > 5


def test_no_figure_is_said_to_have_been_read_in_a_paper():
    """The papers' text could not be read; a figure that was needs its table here."""
    for paper in PAPERS:
        assert "read in the paper" not in set(published(paper)["certainty"])


def test_figures_of_the_notes_stand_where_they_belong():
    """One of each certainty, by hand."""

    def one(paper, **where):
        rows = published(paper)
        for column, value in where.items():
            rows = rows[rows[column] == value]
        (row,) = rows.to_dict("records")
        return row

    mlnt = one("mlnt", noise="symmetric-inclusive", rate=0.9, method="MLNT")
    assert (mlnt["value"], mlnt["certainty"], mlnt["rule"]) == (59.1, "from memory", "unknown")
    mslg = one("mslg", noise="feature-dependent", rate=0.8, method="MSLG")
    assert (mslg["value"], mslg["certainty"]) == (74.87, "second-hand")
    mlc = one("mlc", dataset="twitter")
    assert math.isnan(mlc["value"])
    assert mlc["certainty"] == "unknown"
    clid = one("clid_mu", method="CLID-MU with FixMatch", setting="worst")
    assert (clid["value"], clid["spread"], clid["certainty"]) == (81.67, 2.62, "read in logs")
    last, best = (
        one("others", table="noisypy", method="cross-entropy", rule=r, setting="worst, 100 epochs")
        for r in ("last epoch", "best on test")
    )
    assert (last["value"], last["spread"], best["value"]) == (68.26, 0.88, 83.91)


def test_all_of_mlcs_figures_are_unknown():
    assert set(published("mlc")["certainty"]) == {"unknown"}
    assert published("mlc")["value"].isna().all()


def test_an_unknown_paper_is_refused():
    with pytest.raises(ValueError, match="`paper` is 'divide'; it must be one of 'mlnt', 'mlc'"):
        published("divide")


GOOD = {
    "table": "t",
    "dataset": "cifar10",
    "noise": "symmetric",
    "rate": "0.5",
    "network": "CNN8",
    "method": "MSLG",
    "setting": "",
    "value": "80.1",
    "spread": "",
    "rule": "last epoch",
    "source": "a book",
    "certainty": "second-hand",
}


def written(path, *rows):
    lines = [",".join(GOOD), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_good_file_is_read(tmp_path):
    (row,) = literature.read_figures(written(tmp_path / "f.csv", GOOD)).to_dict("records")
    assert (row["rate"], row["value"], row["setting"]) == (0.5, 80.1, "")
    assert math.isnan(row["spread"])


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"value": "801"}, "line 3: `value` must lie in 0 to 100"),
        ({"rate": "50"}, "line 3: `rate` must lie in 0 to 1"),
        ({"spread": "-1"}, "line 3: `spread` must lie in 0 to 100"),
        ({"certainty": "sure"}, "line 3: `certainty` must be one of 'read in the paper'"),
        ({"rule": "the best"}, "line 3: `rule` must be one of 'last epoch'"),
        ({"noise": "uniform"}, "line 3: `noise` must be one of 'none', 'symmetric'"),
        ({"source": ""}, "line 3: `source` must not be empty"),
        ({"value": ""}, "line 3: `certainty` must be 'unknown' where there is no value"),
        ({"certainty": "unknown"}, "line 3: `certainty` must be 'unknown' where there is no value"),
        ({"value": "80.2"}, "line 3: a figure must stand there once"),
    ],
)
def test_a_line_that_breaks_a_rule_is_named(changed, text, tmp_path):
    other = {} if text.endswith("once") else {"setting": "another"}
    path = written(tmp_path / "f.csv", GOOD, {**GOOD, **other, **changed})
    with pytest.raises(ValueError, match=text):
        literature.read_figures(path)


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("table,value\nt,80\n")
    with pytest.raises(ValueError, match=r"has the columns \['table', 'value'\]; they must be"):
        literature.read_figures(path)
