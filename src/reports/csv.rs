//! A report as a table of two columns (RFC 4180): the place of a figure, and the figure.

use serde_json::Value;

/// Every figure in `report`, in the order in which it holds them.
pub(super) fn table(report: &Value) -> String {
    let mut lines = String::from("figure,value\r\n");
    walk("", report, &mut lines);
    lines
}

fn walk(place: &str, value: &Value, lines: &mut String) {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&below(name), value, lines)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| walk(&below(&index.to_string()), value, lines));
        }
        Value::String(text) => line(place, text, lines),
        // What nobody can say is an empty cell.
        Value::Null => line(place, "", lines),
        Value::Bool(_) | Value::Number(_) => line(place, &value.to_string(), lines),
    }
}

fn line(place: &str, value: &str, lines: &mut String) {
    for part in [&cell(place), ",", &cell(value), "\r\n"] {
        lines.push_str(part);
    }
}

fn cell(text: &str) -> String {
    // A spreadsheet would take it for a formula.
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_figure_is_a_line_and_none_is_a_formula() {
        let report = json!({ "a": { "b": 1.5, "c": [true, null] }, "d": "x, \"y\"", "e": "=1+1" });
        let expected = "figure,value\r\na.b,1.5\r\na.c.0,true\r\na.c.1,\r\nd,\"x, \"\"y\"\"\"\r\ne,'=1+1\r\n";
        assert_eq!(table(&report), expected);
    }
}
