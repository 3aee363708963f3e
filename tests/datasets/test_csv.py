"""Tables: CSV files with a header."""

import copy
import csv
import gzip
import json
import pickle

import numpy as np
import pytest
from sklearn import datasets as real

import xpnet
from xpnet import Dataset, checkpoint
from xpnet.datasets import Encoding, csv_file, csv_rows

COLOURS = "size,colour,kind\n1,red,b\n2.5,green,a\n3,red,b\n"


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def write_rows(path, header, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.mark.parametrize("load", [real.load_wine, real.load_breast_cancer], ids=lambda load: load.__name__)
def test_real_data_set_is_read_back_with_equal_values(load, tmp_path):
    found = load()
    texts = found.target_names[found.target]
    rows = ([*map(float, row), kind] for row, kind in zip(found.data, texts, strict=True))
    write_rows(tmp_path / "real.csv", [*found.feature_names, "kind"], rows)
    data = csv_file(tmp_path / "real.csv", target="kind")
    np.testing.assert_array_equal(data.inputs, found.data.astype("float32"))
    np.testing.assert_array_equal(np.array(data.classes)[data.labels], texts)
    assert data.encoding.columns == tuple(found.feature_names)
    assert data.name == str((tmp_path / "real.csv").resolve())


def test_numbers_of_regression_are_read_back_with_equal_values(tmp_path):
    found = real.load_diabetes()
    rows = ([*map(float, row), y] for row, y in zip(found.data, found.target, strict=True))
    write_rows(tmp_path / "real.csv", [*found.feature_names, "progression"], rows)
    data = csv_file(tmp_path / "real.csv", target="progression")
    np.testing.assert_array_equal(data.inputs, found.data.astype("float32"))
    np.testing.assert_array_equal(data.targets, found.target.astype("float32")[:, None])
    assert (data.encoding.task, data.encoding.classes, data.classes) == ("regression", None, None)


def test_column_of_text_becomes_one_hot_columns_in_order(table):
    found = csv_file(table(COLOURS), target="kind", one_hot=["colour"])
    np.testing.assert_array_equal(found.inputs, [[1, 0, 1], [2.5, 1, 0], [3, 0, 1]])
    assert found.encoding.levels == {"colour": ("green", "red")}
    assert found.encoding.columns == ("size", "colour")
    assert found.encoding.features == ("size", "colour=green", "colour=red")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.classes == ("a", "b")


def test_all_columns_of_text_become_one_hot_and_numbers_stay(table):
    found = csv_file(table(COLOURS), target="kind", one_hot=True)
    assert found.encoding == csv_file(table(COLOURS), target="kind", one_hot="colour").encoding
    np.testing.assert_array_equal(found.inputs[:, 0], [1, 2.5, 3])


def test_column_of_numbers_becomes_one_hot_on_request_in_the_order_of_numbers(table):
    found = csv_file(table("x,y\n10,a\n9,b\n10,a\n"), target="y", one_hot=["x"])
    assert found.encoding.levels == {"x": ("9", "10")}
    assert found.inputs.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_columns_are_those_that_are_chosen_in_that_order(table):
    found = csv_file(table(",a,b,y\n0,1,2,u\n1,3,4,v\n"), target="y", columns=["b", "a"])
    assert found.inputs.tolist() == [[2, 1], [4, 3]]
    assert found.encoding.columns == ("b", "a")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_recognised_or_passed(table, delimiter):
    text = f'"one, two; three"{delimiter}y\n1{delimiter}u\n2{delimiter}v\n'
    options = {"delimiter": "|"} if delimiter == "|" else {}
    found = csv_file(table(text), target="y", **options)
    assert found.encoding.columns == ("one, two; three",)
    assert found.inputs.tolist() == [[1], [2]]


@pytest.mark.parametrize("begin", ["", "\ufeff"], ids=["plain", "mark"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_encodings_of_a_file_are_recognised(table, begin, pack, end):
    text = begin + end.join(["größe, y ", "1 , u", "", '"2", "v"'.replace(' "v"', "v")])
    found = csv_file(table(pack(text.encode()), "t.csv.gz"), target="y")
    assert found.encoding.columns == ("größe",)
    assert found.inputs.tolist() == [[1], [2]]


def test_cell_in_quotation_marks_has_delimiters_line_ends_and_marks(table):
    found = csv_file(table('x,y\n1,"a, ""b""\nc"\n2,d\n'), target="y")
    assert found.classes == ('a, "b"\nc', "d")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ("0 1 0 1", "classification", ("0", "1")),
        ("3 1 3 1.0 10 10", "classification", ("1", "3", "10")),
        ("-1 1 -1 1", "classification", ("-1", "1")),
        ("yes no no yes", "classification", ("no", "yes")),
        ("1 2 3 4", "regression", None),
        ("1 2 3 3", "regression", None),
        ("1 2.5 1 2.5", "regression", None),
        (" ".join(2 * [*map(str, range(30))]), "classification", (*map(str, range(30)),)),
        (" ".join(2 * [*map(str, range(5, 35))]), "regression", None),
    ],
)
def test_target_has_classes_or_numbers_by_a_rule(table, values, task, classes):
    texts = values.split()
    rows = "\n".join(f"{i},{text}" for i, text in enumerate(texts))
    found = csv_file(table(f"x,y\n{rows}\n"), target="y")
    assert (found.encoding.task, found.encoding.classes) == (task, classes)
    if classes is None:
        np.testing.assert_array_equal(found.targets[:, 0], [*map(float, texts)])
    elif texts[0].lstrip("-").isdecimal():
        assert [float(classes[label]) for label in found.labels] == [*map(float, texts)]


def test_task_may_be_chosen(table):
    path = table("x,y\n1,0\n2,1\n3,0\n4,1\n")
    assert csv_file(path, target="y", task="regression").targets.tolist() == [[0], [1], [0], [1]]
    found = csv_file(table("x,y\n1,7\n2,8\n"), target="y", task="classification")
    assert found.classes == ("7", "8")


def test_several_targets_are_columns_of_floats_in_their_order(table):
    found = csv_file(table("u,x,v\n1,2,3\n0,5,6\n"), target=["v", "u"])
    assert found.targets.tolist() == [[3, 1], [6, 0]]
    assert found.targets.dtype == "float32"
    assert found.encoding.columns == ("x",)


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [("0.1", "float32"), ("1e39", "float64"), ("1e-50", "float64"), ("16777217", "float64")],
)
def test_inputs_are_float32_unless_a_number_does_not_survive(table, cell, dtype):
    found = csv_file(table(f"x,y\n{cell},a\n-2,b\n"), target="y").inputs
    assert found.dtype == dtype
    assert found[0, 0] == np.dtype(dtype).type(cell)


def test_rows_of_many_blocks_are_all_read(table):
    n = 10_000
    text = "".join(f"{i},{'ab'[i % 2]},{i % 3}\n" for i in range(n))
    found = csv_file(table(f"x,c,y\n{text}"), target="y", one_hot=True)
    np.testing.assert_array_equal(found.inputs[:, 0], np.arange(n))
    np.testing.assert_array_equal(found.inputs[:, 2], np.arange(n) % 2)
    np.testing.assert_array_equal(found.labels, np.arange(n) % 3)
    with pytest.raises(ValueError, match=r"has nothing in row 9002 \(line 9003\), column 'x'"):
        csv_file(table(f"x,c,y\n{text}".replace("\n9001,", "\n,")), target="y", one_hot=["c"])


REFUSED = {
    "empty": ("", "is empty; write a header"),
    "empty line": ("\na,y\n", "begins with an empty line; write a header"),
    "header only": ("a,y\n", "has a header, but no rows; pass a file with data"),
    "too few": ("a,b,y\n1,2,3\n1,2\n", r"has 2 cells in row 2 \(line 3\), but 3 columns; correct the row"),
    "too many": ("a,y\n1,2,3\n", r"has 3 cells in row 1 \(line 2\), but 2 columns"),
    "twice": ("a, a,y\n1,2,3\n", "has two columns 'a'; give each column a name of its own"),
    "no name": (
        ",a,y\n1,2,3\n",
        "has no name for column 1; name it in the header; if it only numbers the rows",
    ),
    "other names": ("a,Ys\n1,2\n", "has no column 'y', only 'a', 'Ys'; did you mean 'Ys'"),
    "no features": ("y\na\nb\n", "has no column besides the target; add features"),
    "missing": ("a,y\n1,2\n,3\n", r"has nothing in row 2 \(line 3\), column 'a'; fill in the cell"),
    "NA": ("a,y\n1,2\nNA,3\n", r"has 'NA' in row 2 \(line 3\), column 'a'; fill in the cell"),
    "nan": ("a,y\nnan,2\n", r"has 'nan' in row 1 \(line 2\), column 'a'; fill in the cell"),
    "missing target": ("a,y\n1,a\n2,\n", r"has nothing in row 2 \(line 3\), column 'y'; fill in the cell"),
    "infinite": ("a,y\n-inf,2\n", r"has '-inf' in row 1 \(line 2\), column 'a'; correct the row"),
    "text": (
        "a,y\n1,2\n\nb,3\n",
        r"has the text 'b' in row 2 \(line 4\), column 'a', which must be a number; pass",
    ),
    "underscore": ("a,y\n1_000,2\n", "has the text '1_000' in row 1"),
    "comma": ("a;y\n2,5;2\n", "has the text '2,5' in row 1 .*; write decimals with a point"),
    "one class": ("a,y\n1,u\n2,u\n", "has only one class in the target 'y'; add rows of another class"),
    "mixed target": ("a,y\n1,1\n2,2\n3,?\n", r"has numbers in the target 'y', but '\?' in row 3 \(line 4\)"),
    "NUL": ("a,y\n1,\0\n", "has a NUL byte in line 2; check that it is a CSV file"),
    "UTF-16": ("a,y\n1,2\n".encode("utf-16"), "not UTF-8; save it as UTF-8"),
    "Latin-1": (
        "a,y\n1,\xe9\n".encode("latin-1"),
        "has bytes in line 2 that are not UTF-8; save it as UTF-8",
    ),
    "open quote": (
        'a,y\n1,"b\n2,c\n',
        "cannot be read in line 3: unexpected end of data; check the quotation",
    ),
    "open quote early": ('a,"y\n1,b\n2,c\n', "cannot be read in line 3: unexpected end of data"),
    "huge field": (f"a,y\n1,{'0' * 200_000}\n", r"cannot be read in line 2: field larger than field limit"),
    "huge header": (f"a,{'y' * 200_000}\n1,2\n", r"cannot be read in line 1: field larger than field limit"),
    "huge line": (f"a,y\n1,{'0' * (17 << 20)}\n", "has a line of more than 16777216 bytes, line 2"),
    "levels": (
        "a,y\n" + "".join(f"{i},c{i}\n" for i in range(1001)),
        "has 1001 classes in the target 'y', but at most 1000",
    ),
    "gzip": (gzip.compress(b"a,y\n1,2\n")[:-9], "is a truncated or damaged gzip file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_such_table_is_refused_in_one_line(table, case):
    content, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as found:
        csv_file(table(content), target="y")
    text = str(found.value)
    assert text.startswith("table '")
    assert "\n" not in text
    assert len(text) <= 300


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "kinds"}, ValueError, "has no column 'kinds', only .*; did you mean 'kind'"),
        ({"target": ["kind", "kind"]}, ValueError, "`target` has 'kind' twice; name it once"),
        (
            {"target": ["kind", "size"], "one_hot": True},
            ValueError,
            "has the text 'b' in row 1 .*, column 'kind'",
        ),
        ({"target": []}, TypeError, r"`target` must be a name or several, got \[\]"),
        ({"target": 3}, TypeError, "`target` must be a name or several, got 3"),
        (
            {"task": "classify"},
            ValueError,
            "unknown task 'classify': choose one of classification, regression",
        ),
        (
            {"task": "regression", "one_hot": True},
            ValueError,
            "has 'b' in row 1 .*, column 'kind', which must be a number",
        ),
        (
            {"target": ["kind", "size"], "task": "classification"},
            ValueError,
            "has one column as target, got 2",
        ),
        (
            {"target": "size", "task": "classification", "one_hot": True},
            ValueError,
            "has '2.5' for the target",
        ),
        ({"columns": ["size", "kind"]}, ValueError, "`columns` has the target 'kind'; leave it out"),
        ({"columns": ["sized"]}, ValueError, "has no column 'sized', only .*; did you mean 'size'"),
        ({"one_hot": ["color"]}, ValueError, "has no column 'color', only .*; did you mean 'colour'"),
        ({"one_hot": ["kind"]}, ValueError, "`one_hot` has 'kind', which is not a column of the inputs"),
        ({"delimiter": ";;"}, ValueError, "`delimiter` must be one character, such as ';', got ';;'"),
        ({"max_bytes": 20}, ValueError, "has more than 20 bytes; if you trust it, pass a larger `max_bytes`"),
        ({}, ValueError, r"column 'colour', which must be a number; pass `one_hot=\['colour'\]`"),
    ],
)
def test_option_that_does_not_fit_is_refused(table, options, error, message):
    with pytest.raises(error, match=message):
        csv_file(table(COLOURS), **{"target": "kind"} | options)


def test_column_of_too_many_texts_is_refused(table):
    text = "a,y\n" + "".join(f"c{i},{i % 2}\n" for i in range(1001))
    with pytest.raises(ValueError, match="has 1001 different texts in column 'a', but at most 1000"):
        csv_file(table(text), target="y", one_hot=["a"])


def test_gzipped_file_that_unpacks_to_too_much_is_refused(table, monkeypatch):
    monkeypatch.setattr(csv_rows, "_MOST_UNPACKED", 100)
    path = table(gzip.compress(b"a,y\n" + b"1,2\n3,4\n" * 50_000))
    with pytest.raises(ValueError, match=r"has more than \d+ bytes; if you trust it, pass a larger"):
        csv_file(path, target="y")
    assert len(csv_file(path, target="y", max_bytes=1_000_000)) == 100_000


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*none.csv'; correct the path"):
        csv_file(tmp_path / "none.csv", target="y")
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*': it is a folder; correct the path"):
        csv_file(tmp_path, target="y")


@pytest.fixture
def encoding(table):
    return csv_file(table(COLOURS), target="kind", one_hot=["colour"]).encoding


def test_encoding_survives_json(encoding, table):
    for one in (encoding, csv_file(table("x,y\n1,2.5\n"), target="y").encoding):
        again = Encoding(**json.loads(json.dumps(one.about())))
        assert again == one


def test_another_file_is_encoded_in_the_same_way(encoding, table):
    path = table("kind;more;colour;size\na;x;red;7\n")
    found = encoding.read(path)
    assert isinstance(found, Dataset)
    assert found.inputs.tolist() == [[7, 0, 1]]
    assert found.labels.tolist() == [0]
    assert found.classes == ("a", "b")
    assert encoding.read(path, targets=False).tolist() == [[7, 0, 1]]


def test_file_without_the_target_gives_only_inputs(encoding, table):
    path = table("colour,size\ngreen,7\n")
    assert encoding.read(path).tolist() == [[7, 1, 0]]
    with pytest.raises(ValueError, match="has no column 'kind', only 'colour', 'size'"):
        encoding.read(path, targets=True)


def test_classes_of_whole_numbers_may_be_written_in_another_way(table):
    encoding = csv_file(table("x,y\n1,3\n2,4\n3,3\n4,4\n"), target="y").encoding
    assert encoding.read(table("x,y\n1,4.0\n")).labels.tolist() == [1]


def test_numbers_of_another_file_are_targets_of_several_columns(table):
    encoding = csv_file(table("u,x,v\n1,2,3\n0,5,6\n"), target=["v", "u"]).encoding
    assert encoding.read(table("x,u,v\n1,7,8\n")).targets.tolist() == [[8, 7]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour,kind\nred,a\n", "has no column 'size', only 'colour', 'kind'; correct the name"),
        (
            "size,colour\n1,blue\n",
            r"has 'blue' in row 1 \(line 2\) for column 'colour', which has 'green', 'red'",
        ),
        (
            "size,colour,kind\n1,red,c\n",
            r"has 'c' in row 1 \(line 2\) for the target 'kind', which has 'a', 'b'",
        ),
        (
            "size,colour,kind\nx,red,a\n",
            "has the text 'x' in row 1 .*; correct it; the model was trained with",
        ),
        ("size,colour,kind\n1,red,\n", r"has nothing in row 1 \(line 2\), column 'kind'"),
    ],
)
def test_other_file_that_does_not_fit_is_refused(encoding, table, text, message):
    with pytest.raises(ValueError, match=message):
        encoding.read(table(text))


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": "size"[:0]},
        {"target": [1]},
        {"task": "other"},
        {"task": "regression"},
        {"classes": None},
        {"classes": ["a", "a"]},
        {"levels": {"other": ["a"]}},
        {"levels": []},
        {"levels": {"colour": 3}},
    ],
)
def test_encoding_that_is_none_is_refused(encoding, change):
    with pytest.raises((TypeError, ValueError)):
        Encoding(**encoding.about() | change)


TREES = "height,bark,tree\n" + "".join(
    f"{h + i / 100},{bark},{tree}\n"
    for i in range(20)
    for h, bark, tree in ((9, "rough", "oak"), (5, "white", "birch"))
)


def trained(xp, data, **options):
    model = xpnet.Sequential(xpnet.Standardize(3), xpnet.Linear(3, 2))
    return xpnet.fit(xp, model, data, optimizer=xpnet.SGD(1.0), epochs=20, progress=False, **options)


def test_saved_model_reads_other_tables_in_the_same_way(backend, table, tmp_path):
    data = csv_file(table(TREES), target="tree", one_hot=True)
    train, test = data.split(0.2)
    run = trained(backend, train, test=test, validation=0.25)
    assert run.history[-1].test_accuracy == 1
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", backend)
    assert loaded.encoding == run.encoding == data.encoding
    other = loaded.encoding.read(table("bark,height\nwhite,4\nrough,10\n"))
    assert loaded.predict(other).tolist() == ["birch", "oak"]
    assert loaded.evaluate(loaded.encoding.read(table("tree,bark,height\noak,rough,8\n"))).accuracy == 1


def test_model_refuses_a_table_with_other_columns(numpy_xp, table):
    data = csv_file(table(TREES), target="tree", one_hot=True)
    run = trained(numpy_xp, data)
    other = csv_file(table(TREES.replace("rough", "brown")), target="tree", one_hot=True)
    message = (
        r"has 'bark=brown' as feature 2, but the model takes 'bark=rough'; read its table with `run\.enc"
    )
    for call in (run.evaluate, run.predict, lambda other: trained(numpy_xp, data, test=other)):
        with pytest.raises(ValueError, match=message):
            call(other)
    fewer = csv_file(table(TREES), target="tree", columns=["height"])
    with pytest.raises(ValueError, match="`d` has nothing as feature 2, but the model takes 'bark=rough'"):
        data.encoding.check("d", fewer.encoding)
    with pytest.raises(ValueError, match="`d` has 'bark=rough' as feature 2, but the model takes nothing"):
        fewer.encoding.check("d", data.encoding)


def test_parts_and_copies_of_a_data_set_keep_its_encoding(table):
    data = csv_file(table(COLOURS), target="size", columns=["kind"], one_hot=True)
    for part in (*data.split(0.5), data[1:], copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert part.encoding == data.encoding


@pytest.mark.parametrize(
    "encoding", [{}, {"columns": ["a"]}, [], "text", {"columns": 3, "target": [], "task": ""}]
)
def test_model_file_with_a_wrong_encoding_is_refused(numpy_xp, table, tmp_path, encoding):
    run = trained(numpy_xp, csv_file(table(TREES), target="tree", one_hot=True))
    about = run.about() | {"encoding": encoding}
    checkpoint.save(tmp_path / "model", numpy_xp, run.model, run.params, about)
    with pytest.raises(ValueError, match=r"is not an xpnet model .what it says about itself cannot be used"):
        xpnet.load(tmp_path / "model", numpy_xp)
