//! Two-way events as key=value lines: the JSON objects laid flat, with the keys of what is inside another behind its key.

use serde_json::Value;

/// The fields of an object, without its event. What is absent has no value.
pub(in crate::report) fn fields(object: &Value) -> String {
    let mut fields = Vec::new();
    flatten("", object, &mut fields);
    fields.retain(|field| !field.starts_with("event="));
    fields.join(" ")
}

fn flatten(key: &str, value: &Value, fields: &mut Vec<String>) {
    let Value::Object(object) = value else {
        return fields.push(format!("{key}={}", text(value)));
    };
    for (inner, value) in object {
        let key = if key.is_empty() { inner.clone() } else { format!("{key}_{inner}") };
        flatten(&key, value, fields);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'=') => {
            text.clone()
        }
        Value::String(text) => format!("{text:?}"),
        Value::Array(values) => {
            let texts: Vec<String> =
                values.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect();
            text(&Value::String(texts.join(",")))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_laid_flat() {
        let object = json!({
            "event": "probe",
            "seq": 3,
            "lost": null,
            "t1": { "software_ns": -5, "deep": { "er": true } },
            "empty": "",
            "words": ["a", "b"],
            "sentences": ["it is off", "say \"no\""],
        });
        let expected =
            "seq=3 lost= t1_software_ns=-5 t1_deep_er=true empty= words=a,b sentences=\"it is off,say \\\"no\\\"\"";
        assert_eq!(fields(&object), expected);
    }
}
