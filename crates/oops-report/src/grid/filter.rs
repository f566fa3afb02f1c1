//! Conditions on rows: `quality<40`, `plan.remove_fraction=0.5`.

use std::cmp::Ordering;

use oops_core::{Fault, Result, bail_if};
use serde_json::Value;

/// Longer ones first: `<=` is no `<`.
const OPERATORS: [&str; 6] = ["<=", ">=", "!=", "=", "<", ">"];

/// A column, a comparison and a value.
#[derive(Clone, Debug)]
pub struct Filter {
    column: String,
    operator: &'static str,
    value: Value,
    text: String,
}

impl Filter {
    /// Parses `COLUMN OPERATOR VALUE`; blanks around the operator do not count.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Fault::config(format!("`{text}` is no condition"))
                .at("--filter")
                .help("COLUMN, one of < <= = != >= >, and a value: `quality<40`, `plan.use=select.qp`")
        };
        let at = text.find(['<', '>', '=', '!']).ok_or_else(wrong)?;
        let operator = OPERATORS.into_iter().find(|o| text[at..].starts_with(o)).ok_or_else(wrong)?;
        let (column, value) = (text[..at].trim(), text[at + operator.len()..].trim());
        bail_if(column.is_empty() || value.is_empty(), wrong)?;
        let number = value.parse::<f64>().ok().filter(|v| v.is_finite());
        let value = number.map_or_else(|| Value::from(value), Value::from);
        let filter = Self { column: column.to_owned(), operator, value, text: text.to_owned() };
        bail_if(filter.orders() && number.is_none(), || filter.needs_numbers())?;
        Ok(filter)
    }

    /// The column that it is about.
    pub(super) fn column(&self) -> &str {
        &self.column
    }

    fn orders(&self) -> bool {
        !matches!(self.operator, "=" | "!=")
    }

    fn needs_numbers(&self) -> Fault {
        Fault::config(format!("`{}` compares what is no number", self.text))
            .at("--filter")
            .help("use = or != for words")
    }

    /// Whether a value passes; a row without a value passes nothing.
    pub(super) fn passes(&self, value: &Value) -> Result<bool> {
        bail_if(self.orders() && !value.is_null() && value.as_f64().is_none(), || self.needs_numbers())?;
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let order = match (value.as_f64(), self.value.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => text(value).cmp(&text(&self.value)),
        };
        Ok(!value.is_null()
            && match self.operator {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "!=" => order.is_ne(),
                _ => order.is_eq(),
            })
    }
}

/// Numbers by size, everything else as text; numbers before text.
pub(super) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a_number, b_number) => {
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            b_number.is_some().cmp(&a_number.is_some()).then_with(|| text(a).cmp(&text(b)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_parsed_or_explained() {
        let le = Filter::parse(" quality <= 40").unwrap();
        assert_eq!((le.column(), le.operator, le.value.as_f64()), ("quality", "<=", Some(40.0)));
        assert!(le.passes(&Value::from(40)).unwrap() && !le.passes(&Value::Null).unwrap());
        assert!(le.passes(&Value::from("x")).is_err());
        assert!(Filter::parse("plan.use=select.qp").unwrap().passes(&Value::from("select.qp")).unwrap());
        for wrong in ["quality", "<3", "quality<", "quality!3", "plan.use<select"] {
            let fault = Filter::parse(wrong).unwrap_err();
            assert!(fault.class().exit_code() == 2 && fault.help_text().is_some(), "{wrong}");
        }
    }
}
