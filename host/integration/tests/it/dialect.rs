//! Tests of files as other programs write them: they are read as they are meant, or refused in one line that says what
//! to do.

use crate::common::Folder;
use crate::common::data::{gzip, load, refused, source, split};
use graftage::data::{Dataset, Labelled, Legend, Normalisation, Normalise, Samples};
use graftage_core::random::Generator;
use serde_json::{Value, json};

/// Returns leaves of three kinds, eight of each, with length and width as in docs/training.md.
fn leaves() -> Vec<(f32, f32, &'static str)> {
    let kinds = [("oak", 5.0, 2.0), ("lime", 3.0, 2.9), ("willow", 8.0, 1.0)];
    let leaf = |i: usize| {
        let (kind, length, width) = kinds[i % 3];
        (length + (i * 7 % 11) as f32 / 16.0, width + (i * 5 % 7) as f32 / 16.0, kind)
    };
    (0..24).map(leaf).collect()
}

/// Formats the leaves as lines, after a first line.
fn lines(first: &str, line: impl Fn(f32, f32, &str) -> String) -> String {
    let all = leaves().into_iter().map(|(length, width, leaf)| line(length, width, leaf) + "\n");
    [first.to_owned()].into_iter().chain(all).collect()
}

fn plain() -> String {
    lines("length,width,leaf\n", |length, width, leaf| format!("{length},{width},{leaf}"))
}

/// Replaces the names of classes by their numbers.
fn numbered(text: &str) -> String {
    text.replace("lime", "0").replace("oak", "1").replace("willow", "2")
}

fn seed() -> Value {
    json!({ "seed": { "train": 18 } })
}

/// Writes a file called `name` and returns a source of this format for it.
fn of(folder: &Folder, format: &str, name: &str, text: impl AsRef<[u8]>, mut keys: Value) -> graftage::data::Source {
    keys["path"] = json!(folder.file(name, text));
    source(format, keys)
}

/// Asserts that a file is refused in one line that contains these words.
#[track_caller]
fn is_refused(folder: &Folder, format: &str, text: impl AsRef<[u8]>, keys: Value, words: &[&str]) {
    let refusal = of(folder, format, "wrong", text, keys).load(&split(seed()), &Normalise::None);
    refused(refusal, &[&["wrong: "], words].concat());
}

/// Asserts that features and labels are those of the plain file.
#[track_caller]
fn are_the_leaves(folder: &Folder, read: &Labelled, what: &str) {
    let expected = load(&of(folder, "csv", "plain.csv", plain(), json!({})), seed());
    assert_eq!((&read.train, &read.test), (&expected.train, &expected.test), "{what}");
}

#[test]
fn every_dialect_gives_the_same_samples() {
    let folder = Folder::empty();
    let semicolons = plain().replace(',', ";");
    let bare = plain().split_once('\n').unwrap().1.to_owned();
    let cases = [
        ("lines of CR", plain().replace('\n', "\r"), json!({})),
        ("lines of CR LF", plain().replace('\n', "\r\n"), json!({})),
        ("a byte order mark", format!("\u{feff}{}", plain()), json!({})),
        ("semicolons", semicolons.clone(), json!({})),
        ("semicolons that are said", semicolons.clone(), json!({ "delimiter": ";" })),
        ("tabs", plain().replace(',', "\t"), json!({})),
        ("bars", plain().replace(',', "|"), json!({ "delimiter": "|" })),
        ("sep= for commas", format!("sep=,\n{}", plain()), json!({})),
        ("SEP= for semicolons", format!("SEP=;\r\n{semicolons}"), json!({ "delimiter": ";" })),
        ("sep= in quotes", format!("\"sep=;\"\r\n{semicolons}"), json!({})),
        ("sep= for bars", format!("sep=|\n{}", plain().replace(',', "|")), json!({})),
        ("comments", format!("# a\n#b,c,d,e\n{}", plain().replacen("5,", "# between\n5,", 1)), json!({})),
        (
            "blanks and quotes",
            plain().replace(',', " , ").replace("oak", "\"oak\" ").replace("width", "\"width\""),
            json!({}),
        ),
        ("quotes with a delimiter", plain().replace("width", "\"width, in cm\""), json!({})),
        ("quotes with a line end", plain().replace("width", "\"width\r\nin cm\""), json!({})),
        ("no header", bare.clone(), json!({})),
        ("no header, which is said", bare.clone(), json!({ "header": false })),
        ("a header of numbers, which is said", format!("0,1,2\n{bare}"), json!({ "header": true })),
        (
            "a header of years, which is said",
            format!("2019,2020,2021\n{bare}"),
            json!({ "header": true, "label": "2021" }),
        ),
        ("empty lines", plain().replace('\n', "\n\n  \n"), json!({})),
        (
            "two more columns",
            bare.lines().map(|line| format!("x,{line},7\n")).collect(),
            json!({ "ignore": ["0", "4"], "label": "3" }),
        ),
    ];
    for (what, text, keys) in cases {
        are_the_leaves(&folder, &load(&of(&folder, "csv", "dialect.csv", text, keys), seed()), what);
    }
    // Quotes within quotes and a comma in a label, then a semicolon in every label.
    let text = plain().replace("oak", "\"the \"\"oak\"\", a tree\"");
    assert_eq!(load(&of(&folder, "csv", "a.csv", text, json!({})), seed()).legend.classes[1], "the \"oak\", a tree");
    let text = plain().replace("oak", "o;ak").replace("lime", "l;ime").replace("willow", "w;illow");
    assert_eq!(
        load(&of(&folder, "csv", "a.csv", text, json!({})), seed()).legend.classes,
        ["l;ime", "o;ak", "w;illow"]
    );
    // A comment between the samples that looks like a sample is reported.
    let read = load(&of(&folder, "csv", "a.csv", format!("# no\n{}#1,2,oak\n", plain()), json!({})), seed());
    assert_eq!(read.notes, ["1 line between the samples begins with # and is read as a comment"]);
}

#[test]
fn an_ambiguous_first_line_is_refused_and_a_key_decides() {
    let folder = Folder::empty();
    let bare = plain().split_once('\n').unwrap().1.to_owned();
    let whole = |text: &str| numbered(&text.replace('.', ""));
    let ask = "set header = true or header = false in [data.csv]";
    for (first, rest, words) in [
        ("0,1,2", numbered(&bare), "line 1: is 0,1,2 a header, or a sample?"),
        ("1,2,3", numbered(&bare), "line 1: is 1,2,3 a header"),
        ("0,1,2", whole(&bare), "line 1: is 0,1,2 a header"),
        ("1,2,leaf", bare.clone(), "line 1: is 1,2,leaf a header"),
        (",0,1", numbered(&bare), "line 1: is ,0,1 a header"),
        ("2019,2020,2021", numbered(&bare), "line 1: is 2019,2020,2021 a header"),
        ("400,410,leaf", bare.clone(), "line 1: is 400,410,leaf a header"),
        ("0.1,0.2,leaf", bare.clone(), "line 1: is 0.1,0.2,leaf a header"),
        ("2020,2022,leaf", bare.clone(), "line 1: is 2020,2022,leaf a header"),
        ("0,1,2", bare.clone(), "line 1, column 3: \"2\" is above names"),
        ("length,2,leaf", bare.clone(), "line 1, column 1: \"length\" is above numbers"),
        ("5,wide,2", numbered(&bare), "line 1, column 2: \"wide\" is above numbers"),
    ] {
        is_refused(&folder, "csv", format!("{first}\n{rest}"), json!({}), &[words, ask]);
        let read = load(&of(&folder, "csv", "said.csv", format!("{first}\n{rest}"), json!({ "header": true })), seed());
        assert_eq!(read.train.len() + read.test.len(), 24, "{first}");
    }
    let read = load(
        &of(&folder, "csv", "said.csv", format!("0,1,2\n{}", numbered(&bare)), json!({ "header": false })),
        seed(),
    );
    assert_eq!((read.train.len() + read.test.len(), &read.legend.label), (25, &None));
    // A class that occurs again is not the name of a column; neither are numbers with a point.
    for first in ["1,2,oak", "0.0,1.0,2", "4,1,2", "7,8,1"] {
        let rest = if first.ends_with("oak") { bare.clone() } else { numbered(&bare) };
        let read = load(&of(&folder, "csv", "a.csv", format!("{first}\n{rest}"), json!({})), seed());
        assert_eq!(read.train.len() + read.test.len(), 25, "{first}");
    }
    // The table of an array's labels has the key, too.
    let array = folder.file("a.npy", npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1)}", &[1, 2, 3]));
    let labels = |text: &str, header: Value| {
        source("npy", json!({ "path": array, "labels": folder.file("labels.csv", text), "header": header }))
    };
    let by = json!({ "seed": { "train": 2 } });
    refused(
        labels("0,1\n7,1\n8,0\n9,1\n", Value::Null).load(&split(by.clone()), &Normalise::None),
        &["labels.csv: line 1: is 0,1 a header", "in [data.npy]"],
    );
    assert_eq!(load(&labels("0,1\n7,1\n8,0\n9,1\n", json!(true)), by.clone()).train.len(), 2);
    refused(
        labels("oak\nlime\noak\n", Value::Null).load(&split(by.clone()), &Normalise::None),
        &["labels.csv: 2 lines for the 3 samples", "header = false in [data.npy]"],
    );
    assert_eq!(load(&labels("oak\nlime\noak\n", json!(false)), by).legend.classes, ["lime", "oak"]);
    // A file that is given as an option has no key.
    let path = folder.file("stream.csv", format!("0,1,2\n{}", numbered(&bare)));
    refused(
        Samples::read(&path, 2, &Legend::numbered(3)),
        &["stream.csv: line 1: is 0,1,2 a header", "write 1.0 for 1"],
    );
}

#[test]
fn malformed_csv_is_refused_with_its_place_and_remedy() {
    let folder = Folder::empty();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let decimal = |text: String| text.replace('.', ",");
    let semicolons = plain().replace(',', ";");
    let texts: [(String, Value, &[&str]); 22] = [
        (
            plain().replace("3.4375", "\"3,437\""),
            json!({}),
            &["line 3, column 1", "write 3.437, or 3437 if it separates thousands"],
        ),
        (
            decimal(semicolons.clone()),
            json!({}),
            &["line 3, column 1 (length)", "\"3,4375\" has a decimal comma: write 3.4375", "(sample 2)"],
        ),
        (decimal(semicolons.split_once('\n').unwrap().1.into()), json!({}), &["line 2, column", "decimal comma"]),
        ("5,12;oak\n3,99;lime\n".repeat(9), json!({}), &["line 1, column 1: \"5,12\" has a decimal comma: write 5.12"]),
        ("oak;5,12\nlime;3,99\n".repeat(9), json!({}), &["line 1, column 1", "found \"oak\"", "name it in label"]),
        ("1;2;5,12\n2;4;3,99\n".repeat(9), json!({}), &["line 1, column 3", "a number with a decimal comma"]),
        (plain().replace(',', "|"), json!({}), &["line 1", "separated by |", "set delimiter = \"|\" in [data.csv]"]),
        (
            plain().replace(',', " ").split_once('\n').unwrap().1.into(),
            json!({}),
            &["line 1", "separated by blanks", "use commas"],
        ),
        (
            "1;2,a;x\n".repeat(9).replace("2,a", "2,a,b"),
            json!({}),
            &["both commas and semicolons split its lines into 3 fields"],
        ),
        (plain(), json!({ "delimiter": ":" }), &["delimiter = \":\": the delimiter must be"]),
        (format!("sep=:\n{}", plain()), json!({}), &["line 1: sep=:: the delimiter must be"]),
        (format!("sep=;\n{semicolons}"), json!({ "delimiter": "," }), &["line 1: sep=; contradicts delimiter = \",\""]),
        (plain().replacen(",willow", ",\"willow", 1), json!({}), &["line 4: a quote is never closed: close it, or"]),
        (
            plain().replacen(",willow", ",\"willow\" tree", 1),
            json!({}),
            &["line 4: unexpected \"tree\" after the end of the quote"],
        ),
        (
            plain().replacen("willow", "\"willow", 1).replace(",oak\n", ",\"oak\"\n"),
            json!({}),
            &["after the end of the quote from line 4"],
        ),
        (plain().replace("length,width,leaf", "length,leaf"), json!({}), &["line 2: 3 fields, but the header has 2"]),
        (
            plain().replace("length,width,leaf", "length,width,place,leaf"),
            json!({}),
            &["line 2: 3 fields, but the header has 4"],
        ),
        (plain().replace("width", "length"), json!({}), &["two columns are named \"length\": rename one"]),
        (
            plain().replace("length,width", ","),
            json!({ "label": "leaf" }),
            &["two columns are named \"\": rename one, or ignore it"],
        ),
        (
            plain().replacen("oak\n", "0.5\n", 1),
            json!({}),
            &["only classification is supported: a label must be a class number from 0 to 65535 or a class name"],
        ),
        (
            numbered(&plain()).replacen(",1\n", ",-1\n", 1),
            json!({}),
            &["line 2, column 3 (leaf): only classification is supported", "that is not a number, found \"-1\""],
        ),
        ("# nothing\n".into(), json!({}), &["no samples"]),
    ];
    for (text, keys, words) in texts {
        is_refused(&folder, "csv", text, keys, words);
    }
    for spelling in ["NA", "N/A", "NaN", "null", "None", "-"] {
        let text = plain() + &format!("{spelling},2.0,oak\n");
        is_refused(&folder, "csv", text, json!({}), &["line 26, column 1 (length)", spelling, "an empty field or ?"]);
    }
    let npz = [b"PK\x03\x04", &[0; 22][..], &[5, 0, 0, 0], b"x.npy"].concat();
    let files: [(Vec<u8>, &str); 14] = [
        (utf16(&format!("\u{feff}{}", plain())), "it is UTF-16: save it as UTF-8"),
        (utf16(&plain()), "it is UTF-16: save it as UTF-8"),
        (b"\xff\xfe\0\0a\0\0\0".to_vec(), "it is UTF-32: save it as UTF-8"),
        (
            plain().replacen("oak", "\u{1}", 4).replace('\u{1}', "\0").into_bytes(),
            "line 2: not text: it contains a zero byte",
        ),
        ([plain().as_bytes(), b"5,2,\xe4\n"].concat(), "line 26: invalid UTF-8: save it as UTF-8"),
        ([plain().replace('\n', "\r").as_bytes(), b"5,2,\xe4\r"].concat(), "line 26: invalid UTF-8"),
        (
            npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}", &[0; 8]),
            "a NumPy array: read it with [data.npy]",
        ),
        (npz.clone(), "an npz archive: save only its array \"x\""),
        (
            b"PK\x03\x04 [Content_Types].xml".to_vec(),
            "a zip archive: unpack it; if it is a spreadsheet, save its table as CSV",
        ),
        (b"PAR1\x15\x04".to_vec(), "Parquet: save it as CSV"),
        (b"\x89HDF\r\n\x1a\n".to_vec(), "HDF5"),
        (b"\x89PNG\r\n\x1a\n".to_vec(), "a PNG picture"),
        (b"SQLite format 3\0".to_vec(), "a SQLite database"),
        (b"\x80\x04\x95".to_vec(), "a Python pickle"),
    ];
    for (bytes, words) in files {
        for format in ["csv", "arff"] {
            is_refused(&folder, format, &bytes, json!({}), &[words]);
        }
    }
    let array = |bytes: &[u8]| {
        source("npy", json!({ "path": folder.file("wrong", bytes), "labels": folder.file("labels.csv", "0\n1\n") }))
    };
    for (bytes, words) in [
        (npz, "it is an npz archive: save only its array \"x\""),
        (b"\x89HDF\r\n\x1a\n".into(), "it is HDF5"),
        (b"\x80\x05\x95".into(), "it is a Python pickle"),
    ] {
        refused(array(&bytes).load(&split(seed()), &Normalise::None), &["wrong: not a NumPy array: ", words]);
        let images = json!({ "images": folder.file("wrong", bytes), "labels": folder.path("labels.csv") });
        refused(source("idx", images).load(&split(seed()), &Normalise::None), &["wrong: not an IDX file: ", words]);
    }
}

#[test]
fn a_column_that_is_hardly_what_it_is_taken_for_is_refused_or_told() {
    let folder = Folder::empty();
    let with = |line: &dyn Fn(usize, &str) -> String, first: &str| {
        let text = plain();
        let rows = text.lines().skip(1).enumerate().map(|(i, row)| line(i, row) + "\n");
        [format!("{first}\n")].into_iter().chain(rows).collect::<String>()
    };
    let class =
        |row: &str| row.rsplit_once(',').map(|(features, class)| (features.to_owned(), class.to_owned())).unwrap();
    let one_hot = |i: usize, row: &str| {
        let (features, _) = class(row);
        let hot = |k: usize| u8::from(i % 3 == k);
        format!("{features},{},{},{}", hot(0), hot(1), hot(2))
    };
    is_refused(
        &folder,
        "csv",
        with(&one_hot, "length,width,oak,lime,willow"),
        json!({}),
        &[
            "exactly one of the columns \"oak\", \"lime\", \"willow\" is 1 on each line",
            "one-hot",
            "label = \"willow\"",
        ],
    );
    let bare = with(&one_hot, "").trim_start().to_owned();
    is_refused(&folder, "csv", &bare, json!({}), &["of the columns \"2\", \"3\", \"4\"", "one-hot"]);
    let only: String = bare.lines().map(|row| format!("{}\n", row.splitn(3, ',').nth(2).unwrap())).collect();
    is_refused(&folder, "csv", only, json!({}), &["of the columns \"0\", \"1\", \"2\"", "one-hot"]);
    // If the configuration names the label, it is taken.
    let named =
        of(&folder, "csv", "a.csv", with(&one_hot, "length,width,oak,lime,willow"), json!({ "label": "willow" }));
    assert_eq!(load(&named, seed()).shape, [4]);
    // Two bits that do not exclude each other are a feature and a label.
    let bits = with(&|i, row| format!("{},{},{}", class(row).0, i % 2, i / 2 % 2), "length,width,wet,kind");
    assert_eq!(load(&of(&folder, "csv", "a.csv", bits, json!({})), seed()).shape, [3]);
    // A last column that numbers the samples is no label.
    for from in [0, 1] {
        let text = with(&|i, row| format!("{row},{}", i + from), "length,width,leaf,row");
        let from = format!("numbers the samples from {from}: name the label's column");
        is_refused(&folder, "csv", text, json!({ "ignore": ["leaf"] }), &["column \"row\", the last one", &from]);
    }
    let labels = folder.file("labels.csv", "leaf,\noak,0\nlime,1\noak,2\n");
    let array = folder.file("a.npy", npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1)}", &[1, 2, 3]));
    refused(
        source("npy", json!({ "path": array, "labels": labels })).load(&split(seed()), &Normalise::None),
        &["labels.csv: column \"\", the last one and so the label, numbers the samples from 0", "label = \"leaf\""],
    );
    // A feature that numbers the samples is refused if its name says so; otherwise there is a note.
    for name in ["", "index", "ID", "Unnamed: 0"] {
        let text = with(&|i, row| format!("{i},{row}"), &format!("{name},length,width,leaf"));
        let say = format!("column {name:?} numbers the samples from 0: it is not a feature; set ignore = [{name:?}]");
        is_refused(&folder, "csv", &text, json!({}), &[&say]);
        let read = load(&of(&folder, "csv", "a.csv", &text, json!({ "ignore": [name] })), seed());
        are_the_leaves(&folder, &read, name);
    }
    let text = with(&|i, row| format!("{},{row}", i + 1), "minute,length,width,leaf");
    let read = load(&of(&folder, "csv", "a.csv", text, json!({})), seed());
    assert_eq!(read.notes.len(), 1);
    assert!(read.notes[0].starts_with("column \"minute\" numbers the samples from 1 and is used as a feature"));
    let message =
        serde_json::from_value::<graftage::data::Source>(json!({ "csv": { "path": "a", "label": ["a", "b"] } }));
    assert!(message.unwrap_err().to_string().contains("a sample has one label"));
}

#[test]
fn classes_without_samples_are_told_and_many_of_them_refused() {
    let folder = Folder::empty();
    let years = plain().replace("lime", "2021").replace("oak", "2022").replace("willow", "2023");
    is_refused(
        &folder,
        "csv",
        &years,
        json!({}),
        &[
            "only classification is supported: these labels stand for 2024 classes, 0 to 2023, of which only 3 occur",
            "classes = 2024",
        ],
    );
    let read = load(&of(&folder, "csv", "a.csv", &years, json!({ "classes": 2024 })), seed());
    assert_eq!(
        (read.legend.classes.len(), &read.notes[..]),
        (2024, &["2,021 of 2,024 classes have no training samples".to_owned()][..])
    );
    // Parts per million are numbers, not classes.
    let ppm = lines("a,b,ppm\n", |length, width, _| format!("{length},{width},{}", (length * width * 100.0) as u32));
    is_refused(&folder, "csv", ppm, json!({}), &["only classification is supported"]);
    let gap = numbered(&plain()).replace(",2\n", ",4\n");
    let read = load(&of(&folder, "csv", "a.csv", &gap, json!({})), seed());
    assert_eq!(read.notes, ["class 2 has no training samples", "class 3 has no training samples"]);
    let read = load(&of(&folder, "csv", "a.csv", &gap, json!({ "classes": 9 })), seed());
    assert_eq!(
        (read.legend.classes.len(), &read.notes[..]),
        (9, &["6 of 9 classes have no training samples".to_owned()][..])
    );
    is_refused(
        &folder,
        "csv",
        &gap,
        json!({ "classes": 4 }),
        &["line 4, column 3 (leaf): the key classes says that there are only 4 classes", "\"4\""],
    );
    is_refused(
        &folder,
        "csv",
        plain(),
        json!({ "classes": 2 }),
        &["the key classes says that there are only 2 classes"],
    );
    is_refused(
        &folder,
        "csv",
        plain(),
        json!({ "classes": 4 }),
        &["its labels have 3 names, but the key classes says 4 classes"],
    );
    assert!(load(&of(&folder, "csv", "a.csv", plain(), json!({ "classes": 3 })), seed()).notes.is_empty());
    // A class that occurs only in the test part has no training samples.
    let grouped = lines("length,width,place,leaf\n", |length, width, leaf| {
        format!("{length},{width},{},{leaf}", if leaf == "willow" { "east" } else { "north" })
    });
    let keys = json!({ "group": "place" });
    let read = load(&of(&folder, "csv", "a.csv", grouped, keys), json!({ "group": { "test": ["east"] } }));
    assert_eq!(read.notes, ["class 2 (\"willow\") has no training samples"]);
}

/// Loads a trained model's file. Returns the source and what was learnt from it.
fn learnt(folder: &Folder, format: &str, text: &str, keys: Value) -> (graftage::data::Source, Labelled) {
    let source = of(folder, format, "learnt", text, keys);
    let Dataset::Labelled(read) = source.load(&split(seed()), &Normalise::Features).unwrap() else { panic!("a text") };
    (source, read)
}

#[test]
fn columns_are_found_by_their_names_and_classes_by_name_or_number() {
    let folder = Folder::empty();
    let (source, read) = learnt(&folder, "csv", &plain(), json!({}));
    let swapped = lines("leaf,width,length\n", |length, width, leaf| format!("{leaf},{width},{length}"));
    let bare = plain().split_once('\n').unwrap().1.to_owned();
    for (what, text) in [
        ("swapped", &swapped),
        ("swapped, numbered", &numbered(&swapped)),
        ("without names", &bare),
        ("without names, numbered", &numbered(&bare)),
    ] {
        let other = source.with_path(&folder.file("other.csv", text));
        let again = other.load_as(&split(seed()), &read.normalisation, &read.legend).unwrap();
        assert_eq!((&again.train, &again.test, &again.legend), (&read.train, &read.test, &read.legend), "{what}");
        let stream = Samples::read(&folder.file("stream.csv", text), 2, &read.legend).unwrap();
        let expected: Vec<_> = leaves().into_iter().map(|(length, width, _)| [length, width]).collect();
        assert_eq!(stream.features(), expected.concat(), "{what}");
        assert_eq!(stream.labels()[..6], [1, 0, 2, 1, 0, 2], "{what}");
    }
    let swap = |from: &str, to: &str| plain().replacen(from, to, 1);
    for (text, words) in [
        (swap("width", "breadth"), &["column \"width\" is missing; the columns are "][..]),
        (swap("leaf", "tree"), &["column \"leaf\" is missing; the columns are "]),
        (
            lines("length,width,colour,leaf\n", |l, w, leaf| format!("{l},{w},3,{leaf}")),
            &["unknown column \"colour\"; the training's columns are "],
        ),
        (swap("width", "length"), &["two columns are named \"length\""]),
        (swap("oak", "elm"), &["line 2, column 3 (leaf): label elm is not one of the 3 classes "]),
        (swap("oak", "3"), &["line 2, column 3 (leaf): label 3 is not one of the 3 classes "]),
        (swap("oak", "-1"), &["line 2, column 3 (leaf): label -1 is not one of the 3 classes "]),
    ] {
        let path = folder.file("other.csv", text);
        let other = source.with_path(&path);
        refused(other.load_as(&split(seed()), &read.normalisation, &read.legend), &[&["other.csv: "], words].concat());
        refused(Samples::read(&path, 2, &read.legend), &[&["other.csv: "], words].concat());
    }
    let path = folder.file("stream.csv", "length,width,leaf\n,2.0,oak\n");
    refused(
        Samples::read(&path, 2, &read.legend),
        &["line 2, column 1 (length): the feature is missing", "a device takes only complete samples"],
    );
    // The names of the training identify a header of numbers.
    let (_, read) = learnt(&folder, "csv", &format!("0,1,2\n{bare}"), json!({ "header": true }));
    let turned = lines("2,1,0\n", |length, width, leaf| format!("{leaf},{width},{length}"));
    let stream = Samples::read(&folder.file("stream.csv", turned), 2, &read.legend).unwrap();
    assert_eq!((stream.len(), stream.features()[0]), (24, leaves()[0].0));
    // Columns are found by place if the training's file has no names.
    let (_, read) = learnt(&folder, "csv", &bare, json!({}));
    assert_eq!(Samples::read(&folder.file("a.csv", plain()), 2, &read.legend).unwrap().len(), 24);
    refused(
        Samples::read(&folder.file("a.csv", "1.0,2\n"), 2, &read.legend),
        &["a.csv: its samples have 1 features, but the network takes 2"],
    );
}

#[test]
fn columns_that_are_no_features_may_be_there_or_not() {
    let folder = Folder::empty();
    let text = lines("length,width,place,day,leaf\n", |l, w, leaf| format!("{l},{w},north,monday,{leaf}"));
    let (source, read) = learnt(&folder, "csv", &text, json!({ "group": "place", "ignore": ["day"] }));
    for text in [&text, &plain(), &lines("day,leaf,width,length\n", |l, w, leaf| format!("x,{leaf},{w},{l}"))] {
        let other = source.with_path(&folder.file("other.csv", text));
        let all = other.all_as(&read.normalisation, &read.legend).unwrap();
        let whole = Samples::read(&folder.path("other.csv"), 2, &read.legend).unwrap();
        assert_eq!((all.len(), all.labels(), whole.len()), (24, whole.labels(), 24));
        let Normalisation { mean, deviation, .. } = &read.normalisation;
        let scaled: Vec<_> =
            whole.iter().map(|(x, _)| [(x[0] - mean[0]) / deviation[0], (x[1] - mean[1]) / deviation[1]]).collect();
        assert_eq!(all.features(), scaled.concat());
    }
}

#[test]
fn written_csv_names_columns_and_classes() {
    let folder = Folder::empty();
    let (_, read) = learnt(&folder, "csv", &plain().replace("length", "\"#length, cm\""), json!({}));
    let raw = Samples::read(&folder.path("learnt"), 2, &read.legend).unwrap();
    let path = folder.path("written.csv");
    raw.write(&path, 1.0, &read.legend).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("\"#length, cm\",width,leaf\n5.0,2.0,oak\n"), "{text}");
    assert_eq!(Samples::read(&path, 2, &read.legend).unwrap(), raw);
    // Without names, a first sample of small whole numbers is still a sample.
    let mut counting = Samples::new(2);
    [[0.0, 1.0], [1.0, 2.0]].iter().for_each(|x| counting.push(x, 2));
    counting.write(&path, 1.0, &Legend::default()).unwrap();
    assert_eq!(Samples::read(&path, 2, &Legend::numbered(3)).unwrap(), counting);
}

/// Formats the leaves as ARFF.
fn arff() -> String {
    let header = "@relation leaves\n@attribute length numeric\n@attribute width numeric\n@attribute leaf {lime,oak,willow}\n@data\n";
    lines(header, |length, width, leaf| format!("{length},{width},{leaf}"))
}

#[test]
fn every_form_of_arff_gives_the_same_samples() {
    let folder = Folder::empty();
    let values = |with: &str| {
        lines(
            arff().split_once("@data\n").map(|(header, _)| format!("{header}@data\n")).unwrap().as_str(),
            |l, w, leaf| format!("{l}{with}{w}{with}{leaf}"),
        )
    };
    for (what, text) in [
        ("plain", arff()),
        ("a comment after values", arff().replace("willow}", "willow} %{three kinds}")),
        ("a comment after a type", arff().replacen("numeric", "numeric%, in cm", 1)),
        ("comments after samples", arff().replace("oak\n", "oak % a, tree\n")),
        ("tabs", values("\t")),
        ("blanks", values("  ")),
        ("tabs and commas", values("\t,\t")),
        ("a sample beside @data", arff().replace("@data\n", "@DATA ")),
        ("lines of CR", arff().replace('\n', "\r")),
        (
            "quotes of both kinds",
            arff().replace("length", "\"length\"").replace(",oak", ",'oak'").replace(",lime", ",\"lime\""),
        ),
        ("values between blanks", arff().replace("{lime,oak,willow}", "{ lime oak  'willow' }")),
        ("capitals", arff().replace("@attribute", "@ATTRIBUTE").replace("numeric", "Real")),
        ("a comment beside @data", arff().replace("@data", "@data % here")),
    ] {
        are_the_leaves(&folder, &load(&of(&folder, "arff", "a.arff", text, json!({})), seed()), what);
    }
    let blank = arff().replace("oak", "'the oak'");
    assert_eq!(load(&of(&folder, "arff", "a.arff", blank, json!({})), seed()).legend.classes[1], "the oak");
    let unquoted = arff().replace(",oak\n", ",the oak\n").replace("oak,", "the oak,");
    assert_eq!(load(&of(&folder, "arff", "a.arff", unquoted, json!({})), seed()).legend.classes[1], "the oak");
    for (text, words) in [
        (
            arff().replace("willow}", "willow} kinds"),
            &["line 4: attribute \"leaf\": unexpected \"kinds\" after its values"][..],
        ),
        (arff().replace("willow}", "willow % kinds"), &["line 4: attribute \"leaf\": its values must end with }"]),
        (arff().replacen(",oak\n", " oak\n", 1), &["line 6: 2 fields, but the header has 3"]),
    ] {
        is_refused(&folder, "arff", text, json!({}), words);
    }
    // Columns are found by name, as in CSV.
    let (source, read) = learnt(&folder, "arff", &arff(), json!({}));
    let header = "@relation x\n@attribute leaf string\n@attribute width real\n@attribute length real\n@data\n";
    let swapped = lines(header, |length, width, leaf| format!("{leaf},{width},{length}"));
    let other = source.with_path(&folder.file("other.arff", &swapped));
    let again = other.load_as(&split(seed()), &read.normalisation, &read.legend).unwrap();
    assert_eq!((again.train, again.test), (read.train, read.test));
    let renamed = source.with_path(&folder.file("other.arff", swapped.replace("width", "breadth")));
    refused(
        renamed.all_as(&read.normalisation, &read.legend),
        &["other.arff: column \"width\" is missing; the columns are "],
    );
}

/// Encodes a NumPy array with this header.
fn npy(version: u8, header: &str, numbers: &[u8]) -> Vec<u8> {
    let length = if version == 1 {
        (header.len() as u16).to_le_bytes().to_vec()
    } else {
        (header.len() as u32).to_le_bytes().to_vec()
    };
    [&b"\x93NUMPY"[..], &[version, 0], &length, header.as_bytes(), numbers].concat()
}

/// Checks headers against NumPy 2, which has read the first ones (long numbers in versions 1 and 2 alone) and refused
/// the second ones.
#[test]
fn headers_of_arrays_are_read_as_numpy_reads_them() {
    let folder = Folder::empty();
    let of = |bytes: Vec<u8>| {
        let keys = json!({ "path": folder.file("a.npy", bytes), "labels": folder.file("labels.csv", "0\n1\n") });
        source("npy", keys).load(&split(json!({ "seed": { "train": 1 } })), &Normalise::None)
    };
    let bytes = [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat();
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }",
        "{'descr' :'<f4','shape': (2,1),'fortran_order' : False}\n",
        "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (2, 1)}",
        "{u'descr': 'float32', 'fortran_order': False, 'shape': (2, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ((2), 1)}",
        "{'descr': '=f4', 'fortran_order': True, 'shape': (2, 1)}",
        "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 1)}      \n",
        "{'descr': 'f', 'fortran_order': False,\n 'shape': (2,\n 1)}",
    ] {
        for version in 1..=3 {
            let Dataset::Labelled(read) = of(npy(version, header, &bytes)).unwrap() else { panic!("a text") };
            let mut found = [read.train.features()[0], read.test.features()[0]];
            found.sort_by(f32::total_cmp);
            assert_eq!(found, [1.0, 2.0], "{header}");
        }
    }
    for (header, words) in [
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (np.int64(2), 1)}",
            &["\"np.int64(2)\" is not a Python literal"][..],
        ),
        ("{'descr': '<f4', 'fortran_order': false, 'shape': (2, 1)}", &["\"false\" is not a Python literal"]),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': [2, 1]}", &["has an invalid shape"]),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", &["has an invalid shape"]),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 1)}", &["neither True nor False"]),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)", &["it ends too early"]),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", &["shape ()"]),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 1)}", &["a Python pickle", "astype"]),
        ("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 1)}", &["type \"<U4\"", "astype"]),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999999)}",
            &["has a shape that is too large for any memory"],
        ),
        (&"[".repeat(10_000), &["its brackets are nested too deeply"]),
    ] {
        refused(of(npy(1, header, &bytes)), &[&["a.npy: "], words].concat());
    }
}

#[test]
fn arrays_of_every_type_and_order_are_read() {
    let folder = Folder::empty();
    // 0, 1, 2, ... in the order of C, as `numpy.save` writes the result of `numpy.asfortranarray`.
    let fortran = [0f32, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0].map(f32::to_le_bytes).concat();
    let array = npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 2), }", &fortran);
    let labels = |bytes: Vec<u8>| json!(folder.file("labels", bytes));
    let text = labels(b"0\n1\n".to_vec());
    let read = |array: Vec<u8>, labels: Value| {
        let keys = json!({ "path": folder.file("a.npy", array), "labels": labels });
        let Dataset::Labelled(read) =
            source("npy", keys).load(&split(json!({ "seed": { "train": 1 } })), &Normalise::None).unwrap()
        else {
            panic!("a text")
        };
        let mut all: Vec<_> = read.train.iter().chain(read.test.iter()).map(|(x, y)| (y, x.to_vec())).collect();
        all.sort_by_key(|(label, _)| *label);
        all.into_iter().map(|(_, x)| x).collect::<Vec<_>>()
    };
    let counted = [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]];
    assert_eq!(read(array, text.clone()), counted);
    let two = |descr: &str, bytes: &[u8]| {
        npy(2, &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 2)}}"), bytes)
    };
    for (descr, bytes, expected) in [
        ("|b1", &[0, 1, 1, 0][..], [[0.0, 1.0], [1.0, 0.0]]),
        ("<u2", &[1, 0, 0, 1, 255, 255, 0, 0], [[1.0, 256.0], [65535.0, 0.0]]),
        (">u2", &[0, 1, 1, 0, 255, 255, 0, 0], [[1.0, 256.0], [65535.0, 0.0]]),
        (">u4", &[0, 0, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 1, 0], [[1.0, 4_294_967_296.0], [0.0, 256.0]]),
        // 1, -2, the smallest subnormal and the largest number of binary16.
        ("<f2", &[0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0xff, 0x7b], [[1.0, -2.0], [5.960_464_5e-8, 65504.0]]),
        (">f2", &[0x3c, 0x00, 0xc0, 0x00, 0x00, 0x01, 0x7b, 0xff], [[1.0, -2.0], [5.960_464_5e-8, 65504.0]]),
    ] {
        assert_eq!(read(two(descr, bytes), text.clone()), expected, "{descr}");
    }
    let wide = [3u64.to_le_bytes(), (1u64 << 53).to_le_bytes(), 0u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
    assert_eq!(
        read(two("<u8", &wide), text.clone()),
        [[3.0, 9_007_199_254_740_992.0], [0.0, 18_446_744_073_709_551_616.0]]
    );
    let infinite = json!({ "path": folder.file("a.npy", two("<f2", &[0, 0, 0, 0, 0, 0x7c, 0, 0])), "labels": text });
    refused(source("npy", infinite).load(&split(seed()), &Normalise::None), &["sample 2, number 1", "found inf"]);
    // Arrays of labels.
    let whole = |descr: &str, shape: &str, bytes: &[u8]| {
        labels(npy(1, &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"), bytes))
    };
    let ones = two("|u1", &[1, 2, 3, 4]);
    for (descr, shape, bytes) in [
        ("|u1", "(2,)", &[1, 0][..]),
        ("<i8", "(2, 1)", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("<f2", "(2,)", &[0, 0x3c, 0, 0]),
    ] {
        assert_eq!(read(ones.clone(), whole(descr, shape, bytes)), [[3.0, 4.0], [1.0, 2.0]], "{descr}");
    }
    for (descr, shape, bytes, words) in [
        ("|u1", "(2, 2)", &[1, 0, 0, 1][..], &["its labels have shape [2, 2]", "numpy.argmax"][..]),
        ("<f2", "(2,)", &[0, 0x3c, 0, 0x38], &["sample 2: only classification is supported", "\"0.5\""]),
        ("|u1", "(3,)", &[0, 1, 0], &["3 labels for the 2 samples of "]),
        ("<U1", "(2,)", &[0; 8], &["type \"<U1\""]),
    ] {
        let keys = json!({ "path": folder.file("a.npy", &ones), "labels": whole(descr, shape, bytes) });
        refused(source("npy", keys).load(&split(seed()), &Normalise::None), &[&["labels: "], words].concat());
    }
    let keys = json!({ "path": folder.path("a.npy"), "labels": whole("|u1", "(2,)", &[0, 1]), "label": "leaf" });
    refused(source("npy", keys).load(&split(seed()), &Normalise::None), &["labels: an array has no column \"leaf\""]);
}

#[test]
fn zeros_may_follow_what_gzip_packed_and_nothing_else() {
    let folder = Folder::empty();
    let text = plain();
    let (first, second) = text.split_at(100);
    let packed = [gzip(first), gzip(second)].concat();
    for more in [&[][..], &[0], &[0; 5000]] {
        let read = load(&of(&folder, "csv", "a.csv.gz", [&packed[..], more].concat(), json!({})), seed());
        are_the_leaves(&folder, &read, "gzip");
    }
    let at = packed.len();
    let wrong =
        |bytes: Vec<u8>| of(&folder, "csv", "a.csv.gz", bytes, json!({})).load(&split(seed()), &Normalise::None);
    refused(
        wrong([&packed[..], b"junk"].concat()),
        &[&format!("a.csv.gz: 4 bytes follow its gzip data, at byte {at}")],
    );
    refused(
        wrong([&packed[..], &[0; 9], b"junk"].concat()),
        &[&format!("13 bytes follow its gzip data, at byte {at}")],
    );
    refused(wrong(packed[..at - 3].to_vec()), &["damaged or truncated gzip file"]);
    refused(wrong(plain().into_bytes()), &["damaged or truncated gzip file"]);
    refused(wrong(vec![]), &["damaged or truncated gzip file"]);
}

/// Changes, cuts off and inserts bytes in every dialect. Each file is read, or refused in one line.
#[test]
fn a_damaged_file_of_any_dialect_never_ends_the_program() {
    let folder = Folder::empty();
    let labels = folder.file("labels.csv", "0,a\n1,b\n");
    let array = folder.file("array.npy", npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1)}", &[1, 2]));
    let header = "{'descr': '<f2', 'fortran_order': True, 'shape': (2L, (1), 2), }";
    let cases = [
        ("csv", "path", format!("sep=;\n# a\n{}", plain().replace(',', ";")).into_bytes(), json!({ "label": "leaf" })),
        ("csv", "path", plain().replace("oak", "\"o\"\"ak\"").replace('\n', "\r\n").into_bytes(), json!({})),
        ("csv", "path", numbered(&plain()).replace(',', "\t").into_bytes(), json!({ "classes": 3 })),
        ("csv", "path", b"0,1,0\n1,0,0\n0,0,1\n0,1,0\n".to_vec(), json!({})),
        (
            "arff",
            "path",
            arff().replace(",oak\n", "\t'oak' % x\n").replace("@data\n", "@data ").into_bytes(),
            json!({}),
        ),
        ("npy", "path", npy(3, header, &[0; 8]), json!({ "labels": labels })),
        (
            "npy",
            "labels",
            npy(2, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", &[1, 0, 0, 0, 0, 0, 0, 0]),
            json!({ "path": array }),
        ),
    ];
    let seed = 11;
    let (mut generator, by) = (Generator::new(seed, 0), split(json!({ "seed": { "test": 0.5 } })));
    for (format, key, bytes, mut keys) in cases {
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=generator.below(3) {
                let at = generator.below(damaged.len() as u32 + 1) as usize;
                match generator.below(4) {
                    0 if generator.below(4) == 0 => damaged.truncate(at),
                    1 => damaged.insert(at, b"\n\r,;\t|'\"{}()[]?%@#\\0L\xff\xe4"[generator.below(23) as usize]),
                    2 if at < damaged.len() => _ = damaged.remove(at),
                    _ if at < damaged.len() => damaged[at] = generator.bits() as u8,
                    _ => {}
                }
            }
            keys[key] = json!(folder.file("damaged", &damaged));
            match source(format, keys.clone()).load(&by, &Normalise::Features) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    let message = error.to_string();
                    assert!(!message.contains('\n'), "{format} {key}, seed {seed}: {message:?}");
                }
            }
            // The file is also read as a stream.
            if format == "csv" {
                let _ = Samples::read(&folder.path("damaged"), 2, &Legend::numbered(3)).map(|read| read.len());
            }
        }
        assert!(taken + refused == 300 && refused > 20 && taken > 5, "{format} {key}, seed {seed}: {taken} {refused}");
    }
}

#[test]
fn a_comment_that_names_the_columns_and_labels_that_nobody_chose_are_refused() {
    let folder = Folder::empty();
    let by = json!({ "seed": { "test": 0.5 } });
    let text = "# length,width,leaf\n1.5,2.5,oak\n2.5,3.5,lime\n3.5,1.5,oak\n4.5,2.5,lime\n";
    let path = folder.file("a.csv", text);
    let csv = |keys: Value| {
        let mut all = json!({ "path": path });
        all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        source("csv", all)
    };
    let load = |source: &graftage::data::Source| source.load(&split(by.clone()), &Normalise::None);
    refused(
        load(&csv(json!({}))),
        &["a.csv: line 1: does this comment name the columns?", "header = false in [data.csv]"],
    );
    assert!(load(&csv(json!({ "header": false }))).is_ok());
    let legend = Legend::numbered(2);
    refused(Samples::read(&path, 2, &legend), &["a.csv: line 1: does this comment name the columns? remove the #"]);
    // Beside an array, nothing says which of several columns is the label.
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}\n";
    let array = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat();
    let array = folder.file("a.npy", array);
    let labels = folder.file("one-hot.csv", "1,0,0\n0,0,1\n");
    refused(
        load(&source("npy", json!({ "path": array, "labels": labels }))),
        &["one-hot.csv: line 1: which of its 3 columns is the label?", "label = \"0\""],
    );
}

#[test]
fn one_split_alone_is_taken() {
    let two: Result<graftage::data::Split, _> =
        serde_json::from_value(json!({ "seed": { "test": 0.5 }, "group": { "test": ["n"] } }));
    let message = two.unwrap_err().to_string();
    assert!(message.contains("[split.seed]") && message.contains("a training has only one split"), "{message}");
}
