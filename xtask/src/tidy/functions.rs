//! Functions fit a screen, regardless of allowed lints.

use syn::visit::{self, Visit};
use syn::{Block, Ident, ImplItemFn, ItemFn, TraitItemFn};

use super::{Finding, SourceFile};

/// Maximum lines between a body's braces, including comments and blank lines, which also take up screen space.
const MAX_LINES: usize = 60;

/// Checks every function of every file, tests included.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.is_rust()) {
        // Files that do not parse do not compile, which other checks report.
        let Ok(syntax) = syn::parse_file(&file.text) else { continue };
        Functions { file, findings }.visit_file(&syntax);
    }
}

struct Functions<'a> {
    file: &'a SourceFile,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn check(&mut self, name: &Ident, body: &Block) {
        let braces = body.brace_token.span;
        let n_lines = (braces.close().start().line - braces.open().start().line).saturating_sub(1);
        if n_lines > MAX_LINES {
            let what =
                format!("the body of `{name}` has {n_lines} lines; the limit is {MAX_LINES}: split it");
            self.findings.push(self.file.finding(name.span().start().line, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.check(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.check(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.check(&function.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
