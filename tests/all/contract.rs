//! The contract: frozen copies, and the reference page made of it.
//!
//! Set `BACKSTOP_BLESS=1` to write what has changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use wit_parser::{
    Function, Handle, InterfaceId, Resolve, Type, TypeDef, TypeDefKind, TypeId,
    UnresolvedPackageGroup, WorldItem,
};

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

fn bless() -> bool {
    std::env::var_os("BACKSTOP_BLESS").is_some()
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries =
        fs::read_dir(dir).unwrap_or_else(|error| panic!("read {}: {error}", dir.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The contract, and the version that its package line states.
fn contract() -> (Resolve, String) {
    let mut resolve = Resolve::default();
    let group = UnresolvedPackageGroup::parse_dir(wit()).unwrap();
    let package = resolve.push_group(group).unwrap();
    let version = resolve.packages[package]
        .name
        .version
        .clone()
        .unwrap()
        .to_string();
    (resolve, version)
}

#[test]
fn the_contract_is_as_it_was_frozen() {
    let (_, version) = contract();
    let frozen = wit().join("released").join(&version);
    if bless() {
        fs::create_dir_all(&frozen).unwrap();
        for (name, text) in files(&wit()) {
            fs::write(frozen.join(name), text).unwrap();
        }
    }
    assert!(
        files(&wit()) == files(&frozen),
        "wit/*.wit differs from wit/released/{version}; what is released does not change: give the package a new \
         version, or bless it with BACKSTOP_BLESS=1 while {version} is not released"
    );
}

#[test]
fn every_item_of_the_contract_is_documented() {
    let (resolve, _) = contract();
    let mut bare = Vec::new();
    let mut note = |what: String, docs: &wit_parser::Docs| {
        if docs
            .contents
            .as_deref()
            .is_none_or(|text| text.trim().is_empty())
        {
            bare.push(what);
        }
    };
    for (_, world) in &resolve.worlds {
        note(format!("world {}", world.name), &world.docs);
    }
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.clone().unwrap();
        note(format!("interface {name}"), &interface.docs);
        for function in interface.functions.values() {
            note(format!("{name}.{}", function.name), &function.docs);
        }
        for id in interface.types.values() {
            let ty = &resolve.types[*id];
            let path = format!("{name}.{}", ty.name.as_deref().unwrap_or("?"));
            if matches!(ty.kind, TypeDefKind::Type(Type::Id(_))) {
                continue; // a `use`
            }
            note(path.clone(), &ty.docs);
            for (member, docs) in members(ty) {
                note(format!("{path}.{member}"), docs);
            }
        }
    }
    assert!(bare.is_empty(), "without documentation: {bare:#?}");
}

fn members(ty: &TypeDef) -> Vec<(&str, &wit_parser::Docs)> {
    match &ty.kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| (&*field.name, &field.docs))
            .collect(),
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .map(|case| (&*case.name, &case.docs))
            .collect(),
        TypeDefKind::Enum(list) => list
            .cases
            .iter()
            .map(|case| (&*case.name, &case.docs))
            .collect(),
        TypeDefKind::Flags(flags) => flags
            .flags
            .iter()
            .map(|flag| (&*flag.name, &flag.docs))
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let (resolve, version) = contract();
    let page = reference(&resolve, &version);
    let path = wit().join("reference.md");
    if bless() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "wit/reference.md is out of date; write it anew with BACKSTOP_BLESS=1"
    );
}

/// The reading order of the page.
const ORDER: [&str; 15] = [
    "lifecycle",
    "fallback",
    "threshold",
    "rollback",
    "types",
    "requests",
    "answers",
    "rollouts",
    "delivery",
    "metrics",
    "evidence",
    "models",
    "state",
    "log",
    "incident",
];

fn reference(resolve: &Resolve, version: &str) -> String {
    let mut page = format!(
        "# Reference of `backstop:policy@{version}`\n\n\
         Made from `wit/*.wit` by a test of the package `backstop-tests`; change those files, not this one.\n\n"
    );
    for name in ORDER {
        let _ = writeln!(page, "- [{name}](#{name})");
    }
    let mut left: Vec<InterfaceId> = resolve.interfaces.iter().map(|(id, _)| id).collect();
    for name in ORDER {
        let position = left
            .iter()
            .position(|id| resolve.interfaces[*id].name.as_deref() == Some(name));
        let id = left.remove(
            position.unwrap_or_else(|| panic!("interface `{name}` is gone; change `ORDER`")),
        );
        interface(&mut page, resolve, id);
    }
    assert!(left.is_empty(), "interfaces that `ORDER` does not name");
    page.push_str("\n## worlds\n");
    for (_, world) in &resolve.worlds {
        let exports = world.exports.values().filter_map(|item| match item {
            WorldItem::Interface { id, .. } => resolve.interfaces[*id].name.clone(),
            _ => None,
        });
        let exports: Vec<String> = exports.map(|name| format!("`{name}`")).collect();
        let exports = if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        };
        let docs = world
            .docs
            .contents
            .as_deref()
            .unwrap_or_default()
            .trim()
            .replace('\n', " ");
        let _ = writeln!(page, "\n- **{}** exports {exports}. {docs}", world.name);
    }
    page
}

fn paragraph(page: &mut String, docs: &wit_parser::Docs) {
    let _ = writeln!(
        page,
        "\n{}",
        docs.contents.as_deref().unwrap_or_default().trim()
    );
}

fn interface(page: &mut String, resolve: &Resolve, id: InterfaceId) {
    let interface = &resolve.interfaces[id];
    let _ = writeln!(
        page,
        "\n## {}",
        interface.name.as_deref().unwrap_or_default()
    );
    paragraph(page, &interface.docs);
    for function in interface
        .functions
        .values()
        .filter(|function| function.kind.resource().is_none())
    {
        self::function(page, resolve, function);
    }
    for id in interface.types.values() {
        let ty = &resolve.types[*id];
        let name = ty.name.as_deref().unwrap_or_default();
        let kind = match &ty.kind {
            TypeDefKind::Record(_) => "record",
            TypeDefKind::Variant(_) => "variant",
            TypeDefKind::Enum(_) => "enum",
            TypeDefKind::Flags(_) => "flags",
            TypeDefKind::Resource => "resource",
            TypeDefKind::Type(Type::Id(_)) => continue,
            TypeDefKind::Type(_) => "type",
            _ => "type",
        };
        let _ = writeln!(page, "\n### {kind} `{name}`");
        paragraph(page, &ty.docs);
        rows(page, resolve, ty);
        for function in interface
            .functions
            .values()
            .filter(|function| function.kind.resource() == Some(*id))
        {
            self::function(page, resolve, function);
        }
    }
}

fn rows(page: &mut String, resolve: &Resolve, ty: &TypeDef) {
    let types: Vec<String> = match &ty.kind {
        TypeDefKind::Record(record) => record
            .fields
            .iter()
            .map(|field| spell(resolve, &field.ty))
            .collect(),
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .map(|case| {
                case.ty
                    .as_ref()
                    .map(|ty| spell(resolve, ty))
                    .unwrap_or_default()
            })
            .collect(),
        _ => Vec::new(),
    };
    let members = members(ty);
    if members.is_empty() {
        return;
    }
    page.push('\n');
    for (position, (name, docs)) in members.into_iter().enumerate() {
        let ty = types
            .get(position)
            .filter(|ty| !ty.is_empty())
            .map(|ty| format!(": `{ty}`"))
            .unwrap_or_default();
        let docs = docs
            .contents
            .as_deref()
            .unwrap_or_default()
            .trim()
            .replace('\n', " ");
        let _ = writeln!(page, "- `{name}`{ty}. {docs}");
    }
}

fn function(page: &mut String, resolve: &Resolve, function: &Function) {
    let method = function.kind.resource().is_some();
    let params = function.params.iter().skip(usize::from(method));
    let params: Vec<String> = params
        .map(|param| format!("{}: {}", param.name, spell(resolve, &param.ty)))
        .collect();
    let result = function
        .result
        .as_ref()
        .map(|ty| format!(" -> {}", spell(resolve, ty)))
        .unwrap_or_default();
    let name = function.item_name();
    let _ = writeln!(page, "\n#### `{name}: func({}){result}`", params.join(", "));
    paragraph(page, &function.docs);
}

fn spell(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::F64 => "f64".to_owned(),
        Type::String => "string".to_owned(),
        Type::Id(id) => spell_id(resolve, *id),
        other => panic!("the page does not know {other:?}; add it to `spell`"),
    }
}

fn spell_id(resolve: &Resolve, id: TypeId) -> String {
    let ty = &resolve.types[id];
    if let Some(name) = &ty.name {
        return name.clone();
    }
    let spell_or = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), |ty| spell(resolve, ty));
    match &ty.kind {
        TypeDefKind::List(of) => format!("list<{}>", spell(resolve, of)),
        TypeDefKind::Option(of) => format!("option<{}>", spell(resolve, of)),
        TypeDefKind::Result(result) => format!(
            "result<{}, {}>",
            spell_or(&result.ok),
            spell_or(&result.err)
        ),
        TypeDefKind::Handle(Handle::Borrow(of)) => format!("borrow<{}>", spell_id(resolve, *of)),
        TypeDefKind::Handle(Handle::Own(of)) => spell_id(resolve, *of),
        other => panic!("the page does not know {other:?}; add it to `spell_id`"),
    }
}
