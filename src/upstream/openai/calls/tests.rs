//! Calls in every way in which servers cut and count them: the assembler against the calls that were meant.

use proptest::prelude::*;

use super::*;
use crate::domain::ids::SeededIds;

fn calls() -> Calls {
    Calls::new(Mint::new(Arc::new(SeededIds::new(7))))
}

fn part<'a>(index: impl Into<Option<u32>>, id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    Part { index: index.into(), id, name, arguments }
}

/// `name arguments` of each call, and their ids.
fn folded(lists: &[Vec<Part<'_>>]) -> (Vec<String>, Vec<String>) {
    let (mut calls, mut texts, mut ids) = (calls(), Vec::<String>::new(), Vec::new());
    let mut add = |said: Said| {
        if let Some((id, name)) = said.head {
            assert_eq!(said.place as usize, ids.len());
            ids.push(id);
            texts.push(name + " ");
        }
        texts[said.place as usize].push_str(&said.arguments);
    };
    for list in lists {
        calls.take(list.iter().copied()).into_iter().flatten().for_each(&mut add);
    }
    calls.close().into_iter().for_each(&mut add);
    assert_eq!(calls.close(), []);
    (texts, ids)
}

#[track_caller]
fn assert_two(lists: &[Vec<Part<'_>>]) -> Vec<String> {
    let (texts, ids) = folded(lists);
    assert_eq!(texts, [r#"f {"a":1}"#, r#"g {"b":"}"}"#]);
    assert_ne!(ids[0], ids[1]);
    ids
}

const F: &str = r#"{"a":1}"#;
const G: &str = r#"{"b":"}"}"#;

#[test]
fn two_calls_are_two_however_they_are_counted() {
    let none = None::<u32>;
    for index in [none, Some(0)] {
        // Whole ones, one after the other and in one list, with ids and without.
        for ids in [["x", "y"], ["", ""], ["x", ""], ["x", "x"]] {
            let (f, g) = (part(index, ids[0], "f", F), part(index, ids[1], "g", G));
            assert_two(&[vec![f], vec![g]]);
            assert_two(&[vec![f, g]]);
        }
        // Heads first, and an id in every part.
        assert_two(&[
            vec![part(index, "x", "f", "")],
            vec![part(index, "y", "g", "")],
            vec![part(index, "x", "", F)],
            vec![part(index, "y", "", G)],
        ]);
        // In pieces, the name in every part or the first.
        for again in ["", "f"] {
            assert_two(&[
                vec![part(index, "x", "f", "{\"a\"")],
                vec![part(index, "x", again, ":1}")],
                vec![part(index, "y", "g", "")],
                vec![part(index, "", "", "{\"b\":\"}")],
                vec![part(index, "", "", "\"}")],
            ]);
        }
        // The name after the arguments.
        assert_two(&[
            vec![part(index, "", "", F)],
            vec![part(index, "x", "f", "")],
            vec![part(index, "", "", "{\"b\":")],
            vec![part(index, "", "", "\"}\"}")],
            vec![part(index, "y", "g", "")],
        ]);
    }
    // Heads and tails under numbers of their own.
    assert_two(&[
        vec![part(0, "x", "f", "")],
        vec![part(1, "", "", "{\"a\"")],
        vec![part(1, "", "", ":1}")],
        vec![part(2, "y", "g", "")],
        vec![part(3, "", "", G)],
    ]);
    assert_two(&[
        vec![part(0, "x", "f", "")],
        vec![part(1, "", "", F)],
        vec![part(1, "y", "g", "")],
        vec![part(2, "", "", G)],
    ]);
    // One list of tails without numbers for one of heads.
    assert_two(&[
        vec![part(none, "x", "f", ""), part(none, "y", "g", "")],
        vec![part(none, "", "", F), part(none, "", "", G)],
    ]);
    // An id for every part.
    assert_two(&[
        vec![part(0, "x1", "f", "{\"a\"")],
        vec![part(0, "x2", "", ":1}")],
        vec![part(1, "y1", "g", "")],
        vec![part(1, "y2", "", G)],
    ]);
}

#[test]
fn one_id_for_two_calls_is_kept_by_the_first() {
    let heads = vec![part(0, "x", "f", ""), part(1, "x", "g", "")];
    let ids = assert_two(&[heads, vec![part(0, "x", "", F)], vec![part(1, "x", "", G)]]);
    assert_eq!(ids[0], "x");
    assert!(ids[1].starts_with("call_") && ids[1].len() == 29, "{}", ids[1]);
    let (texts, ids) = folded(&[vec![part(0, "x", "f", r#"{"n":1}"#)], vec![part(0, "x", "f", r#"{"n":2}"#)]]);
    assert_eq!(texts, [r#"f {"n":1}"#, r#"f {"n":2}"#]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn what_is_said_again_is_no_other_call() {
    let whole = part(0, "x", "f", F);
    assert_eq!(folded(&[vec![whole], vec![whole]]).0, [r#"f {"a":1}"#]);
    let pieces = [vec![part(0, "x", "f", "{\"a\"")], vec![part(0, "", "", ":1}")], vec![whole]];
    assert_eq!(folded(&pieces).0, [r#"f {"a":1}"#]);
    assert_eq!(folded(&[vec![whole], vec![part(0, "", "", "\n")], vec![part(0, "", "", "")]]).0, [r#"f {"a":1}"#]);
}

#[test]
fn one_function_twice_is_two_calls() {
    let (one, two) = (r#"{"n":1}"#, r#"{"n":2}"#);
    for id in ["", "x"] {
        for index in [None, Some(0)] {
            let cut = [
                part(index, id, "f", ""),
                part(index, "", "", one),
                part(index, id, "f", ""),
                part(index, "", "", two),
            ];
            assert_eq!(folded(&cut.map(|part| vec![part])).0, [r#"f {"n":1}"#, r#"f {"n":2}"#], "{id} {index:?}");
        }
    }
    let heads = vec![part(0, "x", "f", ""), part(1, "x", "f", "")];
    let (texts, _) = folded(&[heads, vec![part(0, "x", "", one)], vec![part(1, "x", "", two)]]);
    assert_eq!(texts, [r#"f {"n":1}"#, r#"f {"n":2}"#]);
}

#[test]
fn no_arguments_are_an_empty_object() {
    assert_eq!(folded(&[vec![part(0, "x", "f", "")], vec![part(1, "y", "g", "{}")]]).0, ["f {}", "g {}"]);
    assert_eq!(folded(&[vec![part(0, "x", "f", " ")]]).0, ["f  {}"]);
}

#[test]
fn a_call_that_is_never_named_is_none() {
    assert_eq!(folded(&[vec![part(0, "x", "", F)], vec![]]), (vec![], vec![]));
}

/// A call as it was meant.
#[derive(Debug, Clone)]
pub struct Meant {
    pub name: String,
    pub arguments: String,
}

/// What a server does to the calls that it sends.
#[derive(Debug, Clone)]
pub struct Habit {
    pub index: u8,
    ids: u8,
    names_again: bool,
    name_last: bool,
    /// How many parts of a call go out before one of the next call; only where something tells the parts apart.
    stride: usize,
    cut: usize,
    pub in_one_list: bool,
}

pub fn meant() -> impl Strategy<Value = Vec<Meant>> {
    let arguments = prop_oneof![
        Just("{}".to_owned()),
        "[a-z}{\"\\\\]{0,8}".prop_map(|text| serde_json::json!({"x": text, "y": [1, {"z": "]"}]}).to_string()),
    ];
    prop::collection::vec(("[fgh]", arguments).prop_map(|(name, arguments)| Meant { name, arguments }), 1..4)
}

pub fn habit() -> impl Strategy<Value = Habit> {
    (0u8..4, 0u8..3, any::<bool>(), any::<bool>(), 1usize..4, 1usize..7, any::<bool>()).prop_map(
        |(index, ids, names_again, name_last, stride, cut, in_one_list)| Habit {
            index,
            ids,
            // What nothing could put together is sent by no server either.
            names_again: names_again && !name_last && (index != 3 || ids == 1),
            name_last,
            stride,
            cut,
            in_one_list,
        },
    )
}

/// Each call's parts, as a server of this habit sends them.
pub fn parts_of(habit: &Habit, at: usize, call: &Meant) -> Vec<(Option<u32>, String, String, String)> {
    let number = u32::try_from(at).unwrap();
    let index = |is_head: bool| match habit.index {
        0 => Some(number),
        1 => None,
        2 => Some(0),
        // Each part of a call has the next number.
        _ => Some(2 * number + u32::from(!is_head)),
    };
    let id = |is_head: bool| match habit.ids {
        0 if is_head => format!("id{at}"),
        1 => format!("id{at}"),
        _ => String::new(),
    };
    let mut cuts: Vec<String> =
        call.arguments.as_bytes().chunks(habit.cut).map(|cut| String::from_utf8(cut.to_vec()).unwrap()).collect();
    if habit.name_last {
        let mut parts: Vec<_> = cuts.drain(..).map(|cut| (index(true), id(true), String::new(), cut)).collect();
        parts.push((index(true), id(true), call.name.clone(), String::new()));
        return parts;
    }
    let mut parts = vec![(index(true), id(true), call.name.clone(), String::new())];
    let again = if habit.names_again { call.name.clone() } else { String::new() };
    parts.extend(cuts.into_iter().map(|cut| (index(false), id(false), again.clone(), cut)));
    parts
}

proptest! {
    #[test]
    fn every_habit_gives_the_calls_that_were_meant(meant in meant(), habit in habit()) {
        let mut queues: Vec<_> = meant.iter().enumerate().map(|(at, call)| parts_of(&habit, at, call).into_iter()).collect();
        let tells_apart = habit.index == 0 || habit.ids == 1;
        let mut parts = Vec::new();
        if tells_apart && !habit.name_last {
            while queues.iter().any(|queue| queue.len() > 0) {
                queues.iter_mut().for_each(|queue| parts.extend(queue.take(habit.stride)));
            }
        } else {
            parts.extend(queues.into_iter().flatten());
        }
        let as_part = |(index, id, name, arguments): &(Option<u32>, String, String, String)| {
            (*index, id.clone(), name.clone(), arguments.clone())
        };
        let owned: Vec<_> = parts.iter().map(as_part).collect();
        let borrowed = owned.iter().map(|(index, id, name, arguments)| part(*index, id, name, arguments));
        let lists: Vec<Vec<Part<'_>>> = match habit.in_one_list && habit.index == 0 {
            true => vec![borrowed.collect()],
            false => borrowed.map(|part| vec![part]).collect(),
        };
        let (texts, ids) = folded(&lists);
        let expected: Vec<String> = meant.iter().map(|call| format!("{} {}", call.name, call.arguments)).collect();
        prop_assert_eq!(texts, expected);
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        prop_assert_eq!(distinct.len(), ids.len());
    }
}
