from __future__ import annotations

import pytest

from streamnet.sources.text.schema import has_header


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n", True),
        ("1,2\n3,4\n", False),
        ("0,1,target\n1.5,2.5,1\n", True),
        ("x,R\n1,M\n", True),
        ("0.1,R\n0.2,M\n", False),
        ("label,text\nham,Ok lar joking wif\nspam,Free entry in 2\n", True),
        ("ham,Go until jurong point\nham,Ok lar\nspam,Free entry\n", False),
        ("red,small\nblue,small\nred,large\nred,small\n", False),
        ("colour,size\nblue,small\nred,large\nred,small\n", True),
        ("a,a\nx,y\nx,z\n", False),
        ("when,y\n2020-01-01,a\n2020-01-02,b\n", True),
        ("a,b\n?,x\n1,x\n", True),
        ("only,names\n", True),
        ("NA,1\n2,3\n", False),
        ("nan,1\n2,3\n", False),
        ("What's your gender?,Do you smoke? (yes/no),Happy & well?\nmale,no,yes\n", True),
        (f"{'Do you agree that this is so? ' * 9},y\nagree,no\nagree,yes\n", True),
        ("2020-01-01,10:30,$5\n2020-01-02,10:31,$6\n", False),
        (",colour,size\n0,red,small\n1,blue,large\n", True),
        (",red,small\n7,blue,large\n9,green,small\n", False),
        (",0,1\n0,0,p\n1,1,q\n", True),
        (",0,1\na,1,0\nb,2,3\n", True),
        ("0,1,2\n0.5,7,a\n0.1,7,b\n", True),
        ("1,2\n0.5,0.1\n", True),
        ("0,1,2\n5,1,1\n7,2,0\n", True),
    ],
)
def test_a_header_is_told_by_what_is_below(text: str, header: bool) -> None:
    rows = [line.split(",") for line in text.splitlines()]
    assert has_header(rows, ()) is header


def test_a_name_that_was_asked_for_makes_a_header() -> None:
    rows = [["0", "1"], ["1", "2"]]
    assert not has_header(rows, ("y",))
    assert has_header(rows, ("1",))


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n",
        "1,2,3\n2,3,4\n",
        "0,1\n1,1\n2,0\n",
        "0,1,2\n2,1,0\n0,1,2\n",
        "2,3,4\n0.5,7,a\n",
        "0,1,2\n",
        ",1,2\n,5,7\n3,0,1\n",
        f"{'9' * 5000},1\n2,3\n",
    ],
)
def test_a_sample_that_happens_to_count_is_no_header(text: str) -> None:
    assert not has_header([line.split(",") for line in text.splitlines()], ())


def test_texts_are_samples_where_somebody_asks_for_columns_without_a_name() -> None:
    rows = [["Do you like it?", "so"], ["Yes, I do", "la"]]
    assert has_header(rows, ())
    assert not has_header(rows, ("f0", "f1"))
    assert has_header([["a", "b"], ["1", "u"]], ("f0",))
