//! JSON text for the pieces of a schema.

use syn::{Expr, ExprLit, ExprUnary, Lit, UnOp};

/// `text` as a JSON string, with its quotes.
pub(crate) fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            character if u32::from(character) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => json.push(character),
        }
    }
    json.push('"');
    json
}

/// The JSON of a literal expression; none for any other expression.
pub(crate) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(lit), ..
        }) => Some(string(&lit.value())),
        Expr::Lit(ExprLit {
            lit: Lit::Bool(lit),
            ..
        }) => Some(lit.value.to_string()),
        _ => number(expr),
    }
}

/// The JSON of a number; none for any other expression.
pub(crate) fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Int(lit), ..
        }) => Some(lit.base10_digits().to_owned()),
        Expr::Lit(ExprLit {
            lit: Lit::Float(lit),
            ..
        }) => {
            let digits = lit.base10_digits();
            // Rust allows `1.`, JSON does not.
            Some(if digits.ends_with('.') {
                format!("{digits}0")
            } else {
                digits.to_owned()
            })
        }
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => number(expr).map(|digits| format!("-{digits}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn literals_become_json() {
        assert_eq!(string("a \"b\"\n\\\u{1}"), r#""a \"b\"\n\\\u0001""#);
        assert_eq!(literal(&parse_quote!(1_000)).as_deref(), Some("1000"));
        assert_eq!(literal(&parse_quote!(-0.5)).as_deref(), Some("-0.5"));
        assert_eq!(literal(&parse_quote!(1.)).as_deref(), Some("1.0"));
        assert_eq!(literal(&parse_quote!(true)).as_deref(), Some("true"));
        assert_eq!(literal(&parse_quote!("x")).as_deref(), Some("\"x\""));
        assert_eq!(literal(&parse_quote!(vec![])), None);
    }
}
