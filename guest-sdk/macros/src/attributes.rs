//! Reading the attributes: serde's as far as they change the schema, and our
//! own `#[setting(…)]`.

use crate::{case, json};
use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Result};

/// The argument of `#[settings]`: empty or `open`.
pub(crate) fn is_open(arguments: TokenStream) -> Result<bool> {
    if arguments.is_empty() {
        return Ok(false);
    }
    let argument: syn::Ident = syn::parse2(arguments)?;
    if argument == "open" {
        Ok(true)
    } else {
        Err(Error::new(argument.span(), "expected `open` or nothing"))
    }
}

/// What serde's attributes on the type say.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) rename_all: Option<String>,
    pub(crate) rename_all_fields: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) closed: bool,
    pub(crate) default: bool,
}

/// What the attributes on a field say.
#[derive(Default)]
pub(crate) struct Field {
    pub(crate) rename: Option<String>,
    pub(crate) skip: bool,
    /// The key may be left out.
    pub(crate) optional: bool,
    /// `default = EXPR` of `#[setting]`.
    pub(crate) default: Option<Expr>,
    /// `default` of `#[setting]` without a value.
    pub(crate) default_trait: bool,
    pub(crate) minimum: Option<String>,
    pub(crate) maximum: Option<String>,
    pub(crate) len_min: Option<String>,
    pub(crate) len_max: Option<String>,
    /// Further keywords, as JSON text that begins with a comma.
    pub(crate) keywords: String,
}

/// What serde's attributes on a variant say.
#[derive(Default)]
pub(crate) struct Variant {
    pub(crate) rename: Option<String>,
    pub(crate) rename_all: Option<String>,
    pub(crate) skip: bool,
}

impl Container {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut container = Self::default();
        serde(attributes, |meta, key| {
            match key {
                "rename_all" => container.rename_all = Some(rule(meta)?),
                "rename_all_fields" => container.rename_all_fields = Some(rule(meta)?),
                "tag" => container.tag = Some(text(meta)?),
                "deny_unknown_fields" => container.closed = true,
                "transparent" => {}
                "default" => {
                    container.default = true;
                    skip_value(meta)?;
                }
                "rename" | "bound" | "expecting" => skip_value(meta)?,
                _ => return Err(unsupported(meta, key)),
            }
            Ok(())
        })?;
        Ok(container)
    }
}

impl Variant {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut variant = Self::default();
        serde(attributes, |meta, key| {
            match key {
                "rename" => variant.rename = Some(text(meta)?),
                "rename_all" => variant.rename_all = Some(rule(meta)?),
                "skip" | "skip_deserializing" => variant.skip = true,
                "skip_serializing" => {}
                _ => return Err(unsupported(meta, key)),
            }
            Ok(())
        })?;
        Ok(variant)
    }
}

impl Field {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut field = Self::default();
        serde(attributes, |meta, key| {
            match key {
                "rename" => field.rename = Some(text(meta)?),
                "default" => {
                    field.optional = true;
                    skip_value(meta)?;
                }
                "skip" | "skip_deserializing" => field.skip = true,
                "skip_serializing" => {}
                "skip_serializing_if" => skip_value(meta)?,
                _ => return Err(unsupported(meta, key)),
            }
            Ok(())
        })?;
        for attribute in attributes {
            if attribute.path().is_ident("setting") {
                attribute.parse_nested_meta(|meta| field.read_setting(&meta))?;
            }
        }
        Ok(field)
    }

    fn read_setting(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta.path.require_ident()?.to_string();
        match key.as_str() {
            "default" => {
                self.optional = true;
                if meta.input.peek(syn::Token![=]) {
                    let expr: Expr = meta.value()?.parse()?;
                    if let Some(json) = json::literal(&expr) {
                        self.keywords.push_str(&format!(",\"default\":{json}"));
                    }
                    self.default = Some(expr);
                } else {
                    self.default_trait = true;
                }
            }
            "min" => self.minimum = Some(format!(",\"minimum\":{}", number(meta)?)),
            "max" => self.maximum = Some(format!(",\"maximum\":{}", number(meta)?)),
            "above" => self.minimum = Some(format!(",\"exclusiveMinimum\":{}", number(meta)?)),
            "below" => self.maximum = Some(format!(",\"exclusiveMaximum\":{}", number(meta)?)),
            "min_len" => self.len_min = Some(number(meta)?),
            "max_len" => self.len_max = Some(number(meta)?),
            "pattern" => {
                let pattern = json::string(&text(meta)?);
                self.keywords.push_str(&format!(",\"pattern\":{pattern}"));
            }
            _ => {
                return Err(meta.error(
                    "expected one of `default`, `min`, `max`, `above`, `below`, `min_len`, \
                     `max_len`, `pattern`",
                ));
            }
        }
        Ok(())
    }
}

/// The doc comment as one paragraph per block of lines; empty without one.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let mut description = String::new();
    for attribute in attributes {
        let syn::Meta::NameValue(meta) = &attribute.meta else {
            continue;
        };
        let Expr::Lit(ExprLit {
            lit: Lit::Str(line),
            ..
        }) = &meta.value
        else {
            continue;
        };
        if !meta.path.is_ident("doc") {
            continue;
        }
        let line = line.value();
        match line.trim() {
            "" => description.push('\n'),
            line => {
                if !description.is_empty() && !description.ends_with('\n') {
                    description.push(' ');
                }
                description.push_str(line);
            }
        }
    }
    description.trim().to_owned()
}

/// Goes through serde's attributes.
fn serde(
    attributes: &[Attribute],
    mut read: impl FnMut(&ParseNestedMeta<'_>, &str) -> Result<()>,
) -> Result<()> {
    for attribute in attributes {
        if attribute.path().is_ident("serde") {
            attribute.parse_nested_meta(|meta| {
                let key = meta.path.require_ident()?.to_string();
                read(&meta, &key)
            })?;
        }
    }
    Ok(())
}

fn unsupported(meta: &ParseNestedMeta<'_>, key: &str) -> Error {
    meta.error(format!(
        "`{key}` of serde is not supported in settings: their schema could not say it"
    ))
}

/// `= "text"`, or `(deserialize = "text")`.
fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    if meta.input.peek(syn::token::Paren) {
        let mut value = None;
        meta.parse_nested_meta(|inner| {
            let text = inner.value()?.parse::<LitStr>()?.value();
            if inner.path.is_ident("deserialize") {
                value = Some(text);
            }
            Ok(())
        })?;
        return value.ok_or_else(|| meta.error("expected `deserialize = \"…\"`"));
    }
    Ok(meta.value()?.parse::<LitStr>()?.value())
}

fn rule(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let rule = text(meta)?;
    case::apply(&rule, "")
        .map(|_| rule)
        .ok_or_else(|| meta.error("not a rule of serde"))
}

fn number(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let expr: Expr = meta.value()?.parse()?;
    json::number(&expr).ok_or_else(|| Error::new_spanned(expr, "expected a number"))
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<Expr>()?;
    }
    Ok(())
}
