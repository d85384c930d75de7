//! Changes to JSON text that keep it JSON, so that they reach what reads the values.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::mutate;

/// Stands for a text that no [`Value`] can hold.
const RAW_MARK: &str = "\u{1}";
/// What the marked texts become: numbers out of every range, and what is no JSON at all.
const RAW: [&str; 8] = [
    "1e999",
    "-1e999",
    "18446744073709551616",
    "1e-999",
    "NaN",
    "-0",
    "123456789012345678901234567890",
    "0x1",
];
/// Ends the second of two equal keys until the text is written.
const TWIN_MARK: &str = "\u{2}";

/// Changes the JSON text in `range`; what is no JSON is changed as bytes.
pub(crate) fn mutate(rng: &mut ChaCha8Rng, input: &mut Vec<u8>, range: Range<usize>) {
    let Ok(mut value) = serde_json::from_slice::<Value>(&input[range.clone()]) else {
        let seeds = [input.clone()];
        return mutate::mutate(rng, input, &seeds);
    };
    for _ in 0..mutate::few(rng) {
        change(rng, &mut value);
    }
    let text = write(rng, &value);
    if input.len() - range.len() + text.len() <= mutate::MAX_BYTES {
        input.splice(range, text);
    }
}

fn write(rng: &mut ChaCha8Rng, value: &Value) -> Vec<u8> {
    let mut text = value.to_string().replace("\\u0002", "");
    while text.contains("\"\\u0001\"") {
        text = text.replacen("\"\\u0001\"", RAW[rng.random_range(0..RAW.len())], 1);
    }
    text.into_bytes()
}

fn change(rng: &mut ChaCha8Rng, root: &mut Value) {
    let count = count(root);
    let donor = find(root, &mut rng.random_range(0..count)).cloned().unwrap_or_default();
    let names = names(root);
    let Some(node) = find(root, &mut rng.random_range(0..count)) else { return };
    match rng.random_range(0..8) {
        0 => *node = other(rng),
        1 => *node = donor,
        2 => {
            // Nested as deep as recursion limits, in arrays or under one key.
            let inner = std::mem::take(node);
            let nest = |v, _| json!([v]);
            let under = |v, _| json!({"a": v});
            let depth = 1 << rng.random_range(0..8);
            *node = if rng.random() { (0..depth).fold(inner, nest) } else { (0..depth).fold(inner, under) };
        }
        _ => match node {
            Value::Object(map) => change_object(rng, map, donor, &names),
            Value::Array(list) => change_array(rng, list, donor),
            Value::Number(_) => *node = number(rng, node.as_f64().unwrap_or(0.0)),
            Value::String(text) => change_string(rng, text, &names),
            Value::Bool(b) => *b = !*b,
            Value::Null => *node = donor,
        },
    }
}

fn change_object(rng: &mut ChaCha8Rng, map: &mut Map<String, Value>, donor: Value, names: &[String]) {
    let new = pick(rng, names);
    let Some(key) = map.keys().nth(rng.random_range(0..map.len().max(1))).cloned() else {
        map.insert(new, donor);
        return;
    };
    match rng.random_range(0..5) {
        0 => drop(map.remove(&key)),
        1 => {
            let value = map.remove(&key).unwrap_or_default();
            map.insert(new, value);
        }
        2 => {
            let value = if rng.random() { donor } else { map[&key].clone() };
            map.insert(format!("{key}{TWIN_MARK}"), value);
        }
        3 => drop(map.insert(new, donor)),
        _ => drop(map.insert(key, donor)),
    }
}

/// One of these texts, or none.
fn pick(rng: &mut ChaCha8Rng, texts: &[String]) -> String {
    texts.get(rng.random_range(0..texts.len().max(1))).cloned().unwrap_or_default()
}

fn change_array(rng: &mut ChaCha8Rng, list: &mut Vec<Value>, donor: Value) {
    if list.is_empty() {
        list.push(donor);
        return;
    }
    let at = rng.random_range(0..list.len());
    match rng.random_range(0..5) {
        0 => drop(list.remove(at)),
        1 => list.insert(at, donor),
        2 => list.truncate(at),
        3 => {
            let copies = vec![list[at].clone(); 1 << rng.random_range(0..8)];
            list.splice(at..at, copies);
        }
        _ => {
            let other = rng.random_range(0..list.len());
            list.swap(at, other);
        }
    }
}

fn number(rng: &mut ChaCha8Rng, old: f64) -> Value {
    match rng.random_range(0..8) {
        0 => json!(RAW_MARK),
        1 => json!(u64::MAX >> rng.random_range(0..64)),
        2 => json!(i64::MIN >> rng.random_range(0..63)),
        3 => json!([1e308, -1e308, 1e-308, 5e-324, 0.5, -0.0][rng.random_range(0..6)]),
        4 => json!(old * [-1.0, 0.5, 2.0, 0.999, 1e9, 1e-9][rng.random_range(0..6)]),
        5 => json!(old as i64),
        _ => json!((old as i64).saturating_add(rng.random_range(-3..=3))),
    }
}

fn change_string(rng: &mut ChaCha8Rng, text: &mut String, names: &[String]) {
    match rng.random_range(0..5) {
        0 => text.clear(),
        1 => *text = text.repeat(1 << rng.random_range(1..8)),
        2 => text
            .push_str(["\0", "\u{fffd}", "é", "\u{202e}", "東", "##", "\u{1f600}"][rng.random_range(0..7)]),
        _ => *text = pick(rng, names),
    }
}

fn other(rng: &mut ChaCha8Rng) -> Value {
    match rng.random_range(0..9) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(""),
        3 => json!([]),
        4 => json!({}),
        5 => json!(-1),
        6 => json!(0),
        7 => json!("a".repeat(1 << rng.random_range(0..12))),
        _ => number(rng, 1.0),
    }
}

/// Number of values in the tree.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Value `index` of the tree in preorder.
fn find<'a>(value: &'a mut Value, index: &mut usize) -> Option<&'a mut Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|v| find(v, index)),
        Value::Object(map) => map.values_mut().find_map(|v| find(v, index)),
        _ => None,
    }
}

/// Every key and string of the tree: names that mean something to its reader.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().flat_map(names).collect(),
        Value::Object(map) => map.iter().flat_map(|(k, v)| [vec![k.clone()], names(v)].concat()).collect(),
        _ => vec![],
    }
}
