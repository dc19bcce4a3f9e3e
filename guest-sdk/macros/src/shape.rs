//! From the item to its `Shaped` implementation.

use crate::attributes::{Container, Field, Variant, description};
use crate::{case, json};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, GenericArgument, Ident, Lit,
    PathArguments, Result, Type, parse_quote,
};

/// The whole output: the item with serde's derive, the functions for defaults,
/// and the implementation of `Shaped`.
pub(crate) fn expand(mut item: DeriveInput, open: bool) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "settings cannot be generic",
        ));
    }
    let container = Container::read(&item.attrs)?;
    let mut expansion = Expansion {
        closed: container.closed || !open,
        ident: item.ident.clone(),
        container,
        pieces: Pieces::default(),
        defaults: Vec::new(),
    };
    let keywords = match &mut item.data {
        Data::Struct(data) => expansion.structure(&mut data.fields)?,
        Data::Enum(data) => expansion.choice(data)?,
        Data::Union(data) => {
            return Err(Error::new_spanned(
                data.union_token,
                "settings cannot be a union",
            ));
        }
    };
    let about = match description(&item.attrs) {
        text if text.is_empty() => String::new(),
        text => format!(",\"description\":{}", json::string(&text)),
    };
    let ident = &item.ident;
    let defaults = &expansion.defaults;
    let closing = (expansion.closed && !expansion.container.closed && expansion.can_close(&item))
        .then(|| quote!(, deny_unknown_fields));
    Ok(quote! {
        #[derive(::backstop_sdk::__private::serde::Deserialize)]
        #[serde(crate = "::backstop_sdk::__private::serde" #closing)]
        #item

        impl #ident {
            #(#defaults)*
        }

        impl ::backstop_sdk::Shaped for #ident {
            const KEYWORDS: &'static [::backstop_sdk::Part] = &[#(#keywords),*];
            const ABOUT: &'static str = #about;
        }
    })
}

struct Expansion {
    ident: Ident,
    container: Container,
    /// Unknown keys are refused.
    closed: bool,
    pieces: Pieces,
    /// Functions that return a field's default.
    defaults: Vec<TokenStream>,
}

impl Expansion {
    /// serde knows `deny_unknown_fields` for structs with named fields and for
    /// enums.
    fn can_close(&self, item: &DeriveInput) -> bool {
        match &item.data {
            Data::Struct(data) => matches!(data.fields, Fields::Named(_)),
            _ => true,
        }
    }

    fn structure(&mut self, fields: &mut Fields) -> Result<Vec<TokenStream>> {
        match fields {
            Fields::Named(_) => {
                let rule = self.container.rename_all.clone();
                let default = self.container.default;
                self.object(fields, rule.as_deref(), default, None, "")?;
            }
            Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                let ty = &unnamed.unnamed[0].ty;
                self.pieces.of(ty, "KEYWORDS");
                self.pieces.constant(ty, "MINIMUM");
                self.pieces.constant(ty, "MAXIMUM");
            }
            other => {
                return Err(Error::new_spanned(
                    other,
                    "settings are a struct with named fields, a newtype or an enum",
                ));
            }
        }
        Ok(self.pieces.finish())
    }

    /// The keywords of an object. `tag` is a property that holds a constant.
    fn object(
        &mut self,
        fields: &mut Fields,
        rule: Option<&str>,
        all_optional: bool,
        tag: Option<(&str, &str)>,
        prefix: &str,
    ) -> Result<()> {
        self.pieces.text("\"type\":\"object\",\"properties\":{");
        let mut required = Vec::new();
        let mut separator = "";
        if let Some((tag, value)) = tag {
            let (tag, value) = (json::string(tag), json::string(value));
            self.pieces.text(&format!("{tag}:{{\"const\":{value}}}"));
            required.push(tag);
            separator = ",";
        }
        for field in fields {
            let read = Field::read(&field.attrs)?;
            let Some(ident) = field.ident.clone() else {
                return Err(Error::new_spanned(field, "expected named fields"));
            };
            if !read.skip {
                let key = json::string(&field_key(&ident, &read, rule));
                self.pieces.text(separator);
                self.pieces.text(&format!("{key}:{{"));
                self.property(&field.ty, &read, &field.attrs)?;
                self.pieces.text("}");
                separator = ",";
                if !(all_optional || read.optional || inner_of(&field.ty, "Option").is_some()) {
                    required.push(key);
                }
            }
            self.take_default(field, &ident, read, prefix);
        }
        self.pieces.text("}");
        if !required.is_empty() {
            self.pieces
                .text(&format!(",\"required\":[{}]", required.join(",")));
        }
        if self.closed {
            self.pieces.text(",\"additionalProperties\":false");
        }
        Ok(())
    }

    /// The keywords of one property.
    fn property(&mut self, ty: &Type, read: &Field, attributes: &[Attribute]) -> Result<()> {
        self.pieces.of(ty, "KEYWORDS");
        match &read.minimum {
            Some(text) => self.pieces.text(text),
            None => self.pieces.constant(ty, "MINIMUM"),
        }
        match &read.maximum {
            Some(text) => self.pieces.text(text),
            None => self.pieces.constant(ty, "MAXIMUM"),
        }
        if read.len_min.is_some() || read.len_max.is_some() {
            let (min, max) = length_keywords(ty)?;
            for (keyword, value) in [(min, &read.len_min), (max, &read.len_max)] {
                if let Some(value) = value {
                    self.pieces.text(&format!(",\"{keyword}\":{value}"));
                }
            }
        }
        self.pieces.text(&read.keywords);
        match description(attributes) {
            text if text.is_empty() => self.pieces.constant(ty, "ABOUT"),
            text => {
                let text = json::string(&text);
                self.pieces.text(&format!(",\"description\":{text}"));
            }
        }
        Ok(())
    }

    /// Removes `#[setting]` from the field and tells serde the default.
    fn take_default(&mut self, field: &mut syn::Field, ident: &Ident, read: Field, prefix: &str) {
        field
            .attrs
            .retain(|attribute| !attribute.path().is_ident("setting"));
        if let Some(expr) = read.default {
            let name = format_ident!("__default_{prefix}{ident}");
            let path = format!("{}::{name}", self.ident);
            let ty = &field.ty;
            let value = match &expr {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(_), ..
                }) => {
                    quote!(::core::convert::Into::into(#expr))
                }
                _ => quote!(#expr),
            };
            self.defaults.push(quote!(fn #name() -> #ty { #value }));
            field.attrs.push(parse_quote!(#[serde(default = #path)]));
        } else if read.default_trait {
            field.attrs.push(parse_quote!(#[serde(default)]));
        }
    }

    fn choice(&mut self, data: &mut syn::DataEnum) -> Result<Vec<TokenStream>> {
        let tag = self.container.tag.clone();
        let words_only = data
            .variants
            .iter()
            .all(|variant| variant.fields.is_empty());
        if words_only && tag.is_none() {
            let mut words = Vec::new();
            for variant in &data.variants {
                let read = Variant::read(&variant.attrs)?;
                if !read.skip {
                    words.push(json::string(&self.variant_key(&variant.ident, &read)));
                }
            }
            self.pieces.text(&format!("\"enum\":[{}]", words.join(",")));
            return Ok(self.pieces.finish());
        }
        self.pieces.text("\"oneOf\":[");
        let mut separator = "";
        for variant in &mut data.variants {
            let read = Variant::read(&variant.attrs)?;
            if read.skip {
                continue;
            }
            self.pieces.text(separator);
            self.pieces.text("{");
            let key = self.variant_key(&variant.ident, &read);
            let rule = read
                .rename_all
                .or_else(|| self.container.rename_all_fields.clone());
            self.variant(variant, &key, rule.as_deref(), tag.as_deref())?;
            let about = description(&variant.attrs);
            if !about.is_empty() {
                let about = json::string(&about);
                self.pieces.text(&format!(",\"description\":{about}"));
            }
            self.pieces.text("}");
            separator = ",";
        }
        self.pieces.text("]");
        Ok(self.pieces.finish())
    }

    fn variant(
        &mut self,
        variant: &mut syn::Variant,
        key: &str,
        rule: Option<&str>,
        tag: Option<&str>,
    ) -> Result<()> {
        let prefix = format!("{}_", variant.ident.to_string().to_lowercase());
        let quoted = json::string(key);
        match (&mut variant.fields, tag) {
            (Fields::Unit, None) => self.pieces.text(&format!("\"const\":{quoted}")),
            (fields @ (Fields::Unit | Fields::Named(_)), Some(tag)) => {
                self.object(fields, rule, false, Some((tag, key)), &prefix)?;
            }
            (fields @ (Fields::Named(_) | Fields::Unnamed(_)), None) => {
                self.pieces
                    .text(&format!("\"type\":\"object\",\"properties\":{{{quoted}:{{"));
                match fields {
                    Fields::Unnamed(unnamed) if unnamed.unnamed.len() == 1 => {
                        self.pieces.of(&unnamed.unnamed[0].ty, "WHOLE");
                    }
                    Fields::Unnamed(unnamed) => {
                        return Err(Error::new_spanned(unnamed, "expected one field"));
                    }
                    fields => self.object(fields, rule, false, None, &prefix)?,
                }
                self.pieces.text(&format!(
                    "}}}},\"required\":[{quoted}],\"additionalProperties\":false"
                ));
            }
            (Fields::Unnamed(unnamed), Some(_)) => {
                return Err(Error::new_spanned(
                    unnamed,
                    "a tagged variant has named fields",
                ));
            }
        }
        Ok(())
    }

    fn variant_key(&self, ident: &Ident, read: &Variant) -> String {
        let name = ident.to_string();
        read.rename.clone().unwrap_or_else(|| {
            self.container
                .rename_all
                .as_deref()
                .and_then(|rule| case::apply(rule, &name))
                .unwrap_or(name)
        })
    }
}

/// The pieces of a schema, with neighbouring texts joined.
#[derive(Default)]
struct Pieces {
    done: Vec<TokenStream>,
    text: String,
}

impl Pieces {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A constant of `ty` that is a list of parts.
    fn of(&mut self, ty: &Type, constant: &str) {
        self.flush();
        let constant = format_ident!("{constant}");
        self.done.push(quote! {
            ::backstop_sdk::Part::Of(<#ty as ::backstop_sdk::Shaped>::#constant)
        });
    }

    /// A constant of `ty` that is text.
    fn constant(&mut self, ty: &Type, constant: &str) {
        self.flush();
        let constant = format_ident!("{constant}");
        self.done.push(quote! {
            ::backstop_sdk::Part::Text(<#ty as ::backstop_sdk::Shaped>::#constant)
        });
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.done.push(quote!(::backstop_sdk::Part::Text(#text)));
        }
    }

    fn finish(&mut self) -> Vec<TokenStream> {
        self.flush();
        std::mem::take(&mut self.done)
    }
}

fn field_key(ident: &Ident, read: &Field, rule: Option<&str>) -> String {
    let name = ident.to_string();
    let name = name.strip_prefix("r#").unwrap_or(&name);
    read.rename.clone().unwrap_or_else(|| {
        rule.and_then(|rule| case::apply_to_field(rule, name))
            .unwrap_or_else(|| name.to_owned())
    })
}

/// The keywords that bound the length of a value of this type.
fn length_keywords(ty: &Type) -> Result<(&'static str, &'static str)> {
    let ty = inner_of(ty, "Option").unwrap_or(ty);
    if is_named(ty, "String") {
        Ok(("minLength", "maxLength"))
    } else if is_named(ty, "Vec") {
        Ok(("minItems", "maxItems"))
    } else if is_named(ty, "BTreeMap") {
        Ok(("minProperties", "maxProperties"))
    } else {
        Err(Error::new_spanned(
            ty,
            "only a String, Vec or BTreeMap has a length",
        ))
    }
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// `T` of `Wrapper<T>`.
fn inner_of<'a>(ty: &'a Type, wrapper: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != wrapper {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
