//! Finds circles of imports: modules of one crate that need each other, so that none can be read or changed alone.
//!
//! A module is a file here. It imports another one if a path in it, in a `use` or in an expression, begins with `crate`, `self`,
//! `super` or the name of a child and leads there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::{self, Visit};

/// The path of a module within its crate; the root is empty.
type Module = Vec<String>;

/// Returns a line for each circle in the crate whose root is the file `root`.
///
/// # Errors
/// If a file cannot be read or is not Rust; the file is named.
pub(crate) fn circles(root: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    read(root, &root.with_file_name(""), Module::new(), &mut files)?;
    let modules: BTreeSet<&Module> = files.keys().collect();
    let imports: BTreeMap<&Module, BTreeSet<&Module>> =
        files.iter().map(|(module, file)| (module, targets(module, file, &modules))).collect();
    let shown = |module: &Module| if module.is_empty() { "crate".to_owned() } else { module.join("::") };
    Ok(components(&imports)
        .into_iter()
        .map(|circle| {
            let names: Vec<String> = circle.iter().map(|module| shown(module)).collect();
            format!("{}: {}", root.display(), names.join(", "))
        })
        .collect())
}

fn read(file: &Path, folder: &Path, module: Module, files: &mut BTreeMap<Module, syn::File>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("parsing {}", file.display()))?;
    for item in &parsed.items {
        let syn::Item::Mod(item @ syn::ItemMod { ident, content: None, .. }) = item else { continue };
        let name = ident.to_string();
        let child: Module = module.iter().cloned().chain([name.clone()]).collect();
        let candidates = match path_attribute(item) {
            Some(path) => {
                let file = file.with_file_name(path);
                vec![(file.clone(), file.with_file_name(""))]
            }
            None => {
                let own_folder = folder.join(&name);
                vec![(folder.join(format!("{name}.rs")), own_folder.clone()), (own_folder.join("mod.rs"), own_folder)]
            }
        };
        let found = candidates.iter().find(|(file, _)| file.exists());
        let (child_file, child_folder) =
            found.with_context(|| format!("no file for `mod {name}` of {}", file.display()))?;
        read(child_file, child_folder, child, files)?;
    }
    files.insert(module, parsed);
    Ok(())
}

/// The value of the attribute `path` of a module.
fn path_attribute(item: &syn::ItemMod) -> Option<String> {
    item.attrs.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            path,
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) if path.is_ident("path") => Some(text.value()),
        _ => None,
    })
}

/// The modules that a file imports.
fn targets<'a>(module: &Module, file: &syn::File, modules: &BTreeSet<&'a Module>) -> BTreeSet<&'a Module> {
    let mut paths = Paths { inline: 0, found: Vec::new() };
    paths.visit_file(file);
    let mut targets = BTreeSet::new();
    for (inline, path) in paths.found {
        let Some(mut absolute) = absolute(module, inline, &path, modules) else { continue };
        while !modules.contains(&absolute) {
            absolute.pop();
        }
        targets.extend(modules.get(&absolute).copied().filter(|target| *target != module));
    }
    targets
}

/// The path from the crate's root, if `path` leads into the crate. `inline` is the number of modules within the file around it.
fn absolute(module: &Module, inline: usize, path: &[String], modules: &BTreeSet<&Module>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut base = module.clone();
    let rest = match first.as_str() {
        // A macro with `macro_export` is at the root, wherever it stands.
        "crate" if rest.len() == 1 && rest[0].ends_with('!') => return None,
        "crate" => {
            base.clear();
            rest
        }
        "self" => rest,
        "super" => {
            let ups = path.iter().take_while(|segment| *segment == "super").count();
            base.truncate(base.len().saturating_sub(ups.saturating_sub(inline)));
            &path[ups..]
        }
        _ => {
            base.push(first.clone());
            if !modules.contains(&base) {
                return None;
            }
            rest
        }
    };
    base.extend(rest.iter().cloned());
    Some(base)
}

/// All paths of a file, each with the number of inline modules around it.
struct Paths {
    inline: usize,
    found: Vec<(usize, Vec<String>)>,
}

impl Paths {
    fn add_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| prefix.iter().cloned().chain([ident.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.found.push((self.inline, with(&name.ident))),
            syn::UseTree::Rename(rename) => self.found.push((self.inline, with(&rename.ident))),
            syn::UseTree::Glob(_) => self.found.push((self.inline, prefix.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(prefix, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single name is an import that stands in a `use`, or something local.
        if segments.len() > 1 {
            self.found.push((self.inline, segments));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut segments: Vec<String> = call.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(last) = segments.last_mut() {
            last.push('!');
        }
        self.found.push((self.inline, segments));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inline += 1;
        visit::visit_item_mod(self, item);
        self.inline -= 1;
    }
}

/// The groups of more than one module in which each module reaches each other one.
fn components<'a>(imports: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<BTreeSet<&'a Module>> {
    let reached = |from: &'a Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            let new = imports.get(module).into_iter().flatten().filter(|target| seen.insert(**target));
            next.extend(new.copied());
        }
        seen
    };
    let all: BTreeMap<&Module, BTreeSet<&Module>> = imports.keys().map(|module| (*module, reached(module))).collect();
    let reaches = |from: &Module, to: &Module| all.get(from).is_some_and(|seen| seen.contains(to));
    let circle = |module: &'a Module| {
        all.keys().copied().filter(|other| reaches(module, other) && reaches(other, module)).collect()
    };
    imports.keys().map(|module| circle(module)).filter(|circle: &BTreeSet<_>| circle.len() > 1).collect()
}
